//! Second tries beside those that are slow.
//!
//! Owns a second try's slot and connection until it is taken over or given up; leaves whether there is one to `tidegate-exchange`.
//! Invariant: it is there only while nothing has come of the first.

use tidegate_balance::ServerId;
use tidegate_exchange::{Avoided, Input};

use crate::chance::Chance;
use crate::driver::Request;
use crate::server::Connection;
use crate::world::World;

/// A second try.
pub(crate) struct Hedge {
    server: usize,
    attempt: u64,
    connection: Connection,
    pub(crate) is_sent: bool,
}

impl Hedge {
    pub(crate) fn server(&self) -> usize {
        self.server
    }

    pub(crate) fn attempt(&self) -> u64 {
        self.attempt
    }
}

impl<'p> World<'p> {
    pub(crate) fn start_hedge(&mut self, request: &mut Request<'p>, avoid: &Avoided) {
        assert!(request.hedge.is_none(), "one hedge");
        if request.pin.is_some() {
            return;
        }
        let Ok(ServerId(server)) = self.choose(request.shard, None, avoid) else { return };
        if avoid.contains(server) {
            return;
        }
        let server = server as usize;
        let Some(grant) = self.shards[request.shard].acquire(server) else { return };
        self.hold(request.shard, server);
        self.watch.report.hedges += 1;
        let (attempt, is_sent) = (self.next_attempt(), grant.connection.is_some());
        let connection = grant.connection.unwrap_or_else(|| self.open(server));
        request.hedge = Some(Hedge { server, attempt, connection, is_sent });
        if is_sent {
            self.send_hedge(request);
        } else {
            let answer = self.shared.truths[server].answer_connect(&mut self.rng);
            self.plan_answers(request.id, attempt, answer);
        }
    }

    pub(crate) fn send_hedge(&mut self, request: &mut Request<'p>) {
        let Some(hedge) = &mut request.hedge else { return };
        hedge.is_sent = true;
        let (attempt, server) = (hedge.attempt, hedge.server);
        let script = if hedge.connection.is_dead() {
            vec![(self.rng.between(1, 100), Input::ServerReset)]
        } else {
            self.shared.truths[server].answer_request(self.setup.service, &mut self.rng)
        };
        request.sends += 1;
        self.watch.check_sends(request, &self.setup.policy);
        self.plan_answers(request.id, attempt, script);
    }

    pub(crate) fn adopt(&mut self, request: &mut Request<'p>, server: usize) {
        let hedge = request.hedge.take().expect("adopts a second try that there is");
        assert_eq!(hedge.server, server, "adopts the second try");
        self.let_go(request);
        self.watch.report.hedges_won += 1;
        request.slot = Some(server);
        request.connection = Some(hedge.connection);
        request.attempt = hedge.attempt;
    }

    pub(crate) fn drop_hedge(&mut self, request: &mut Request<'p>) {
        if let Some(hedge) = request.hedge.take() {
            self.give_back(request.shard, hedge.server, Some(hedge.connection));
        }
    }
}
