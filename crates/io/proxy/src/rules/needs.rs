//! What a frontend's rules ask about that costs something to know.
//!
//! Owns the collecting over conditions and templates. Invariant: what is not needed here is asked by no rule.

use tidegate_routing::{
    BackendChoice, BalanceKey, Edit, Ending, RedirectTarget, RequestRule, RespondBody, ResponseRule,
};
use tidegate_rules::{Address, Attribute, Keyed, Number, Template, Text, Uses};

use crate::settings::{BackendSettings, ForwardedField, FrontendSettings};

/// What has to be found out before rules run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The local address of the connection: a system call.
    pub(crate) local: bool,
    /// The time of day.
    pub(crate) time: bool,
    /// The request's head while its response is looked at: it is copied.
    pub(crate) head_for_response: bool,
}

impl Needs {
    /// What the rules of a frontend ask, and the keys of the backends that they may choose.
    pub(crate) fn of(settings: &FrontendSettings, backends: &[BackendSettings]) -> Needs {
        let request = settings.rules.rules.iter().map(uses_of_request_rule);
        let request = request.fold(settings.rules.conditions.uses(), Uses::union);
        let response = settings.response_rules.rules.iter().map(uses_of_response_rule);
        let response = response.fold(settings.response_rules.conditions.uses(), Uses::union);
        let sticks = || backends.iter().filter_map(|backend| backend.stick.as_ref());
        let keys = backends.iter().filter_map(|backend| backend.balance_key.as_ref());
        let keys = keys.chain(sticks().map(|stick| &stick.key));
        let keys = keys.map(BalanceKey::uses).fold(Uses::default(), Uses::union);
        let learned = sticks().filter_map(|stick| stick.learn.as_ref());
        let response = learned.map(BalanceKey::uses).fold(response, Uses::union);
        let both = request.union(response).union(keys);
        let destination =
            [Attribute::Address(Address::Destination), Attribute::Number(Number::DestinationPort)];
        let of_head = [
            Attribute::Text(Text::Method),
            Attribute::Text(Text::Host),
            Attribute::Text(Text::Path),
            Attribute::Text(Text::Query),
            Attribute::Text(Text::Uri),
            Attribute::Text(Text::Protocol),
            Attribute::Number(Number::RequestSize),
            Attribute::Keyed(Keyed::RequestHeaders),
            Attribute::Keyed(Keyed::Cookies),
            Attribute::Keyed(Keyed::Arguments),
        ];
        let tells_port = settings
            .own_fields
            .forwarding
            .as_ref()
            .is_some_and(|forwarding| forwarding.fields.contains(&ForwardedField::Port));
        Needs {
            local: tells_port || destination.iter().any(|attribute| both.asks(*attribute)),
            time: both.asks(Attribute::Number(Number::Now)),
            head_for_response: of_head.iter().any(|attribute| response.asks(*attribute)),
        }
    }
}

fn uses_of_request_rule(rule: &RequestRule) -> Uses {
    let uses = uses_of_edits(&rule.edits);
    match &rule.ending {
        Some(Ending::Backend(BackendChoice::Split(split))) => uses.union(uses_of(split.key.iter())),
        Some(Ending::Backend(BackendChoice::Named(named))) => uses.union(named.name.uses()),
        Some(Ending::Redirect(redirect)) => match &redirect.target {
            RedirectTarget::Parts { host, prefix, .. } => {
                uses.union(uses_of(host.iter().chain(prefix)))
            }
            RedirectTarget::Location(location) => uses.union(location.uses()),
        },
        Some(Ending::Respond(respond)) => {
            let uses = uses.union(uses_of(respond.headers.iter().map(|(_, value)| value)));
            match &respond.body {
                RespondBody::Bytes(_) => uses,
                RespondBody::Template(body) => uses.union(body.uses()),
            }
        }
        Some(
            Ending::Backend(BackendChoice::One(_))
            | Ending::Deny { .. }
            | Ending::Tarpit { .. }
            | Ending::Close,
        )
        | None => uses,
    }
}

fn uses_of_response_rule(rule: &ResponseRule) -> Uses {
    uses_of_edits(&rule.edits)
}

fn uses_of_edits(edits: &[Edit]) -> Uses {
    uses_of(edits.iter().filter_map(|edit| match edit {
        Edit::SetHeader(_, value)
        | Edit::AddHeader(_, value)
        | Edit::SetPath(value)
        | Edit::SetQuery(value)
        | Edit::SetHost(value)
        | Edit::SetVariable(_, value) => Some(value),
        Edit::LogField(log) => Some(&log.value),
        Edit::RemoveHeader(_)
        | Edit::SetMethod(_)
        | Edit::RewritePath(_)
        | Edit::SetTimeouts(_)
        | Edit::SetPriority(_)
        | Edit::Mirror(_) => None,
    }))
}

fn uses_of<'a>(templates: impl Iterator<Item = &'a Template>) -> Uses {
    templates.map(Template::uses).fold(Uses::default(), Uses::union)
}
