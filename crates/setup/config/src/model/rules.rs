//! Rules, and what they look things up in, as the configuration holds them.
//!
//! Owns the equality that compiled rules do not have: two are equal when the file says the same and the files that it names
//! held the same. Leaves what rules are to `tidegate_routing` and `tidegate_rules`.
//!
//! Invariant: indices in rules point into [`Tables`] and into the backends of the same configuration.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_routing::{ErrorPages, RequestRule, ResponseRule, Rules};
use tidegate_rules::{Names, ValueList, ValueMap};

use crate::written::Written;

/// What a frontend's rules do. A shard works from a clone of its own.
#[derive(Clone, Debug, Default)]
pub struct FrontendRules {
    /// `[[frontends.NAME.rules]]`.
    pub request: Rules<RequestRule>,
    /// `[[frontends.NAME.response_rules]]`.
    pub response: Rules<ResponseRule>,
    /// The tables `conditions`, `rules` and `response_rules` of the file in one spelling.
    pub(crate) written: Written,
}

impl PartialEq for FrontendRules {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// `error_pages`: bodies by status, with their `Content-Type`.
#[derive(Clone, Debug, Default)]
pub struct Pages(pub Arc<ErrorPages>);

impl PartialEq for Pages {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (&self.0.pages, &other.0.pages);
        own.len() == others.len()
            && own.iter().all(|(status, page)| {
                others.get(status).is_some_and(|other| {
                    page.content_type == other.content_type && page.body == other.body
                })
            })
    }
}

/// What the rules of all frontends share.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// The names that expressions may use; what is compiled later, such as the log's templates, is compiled with a clone.
    pub names: Names,
    /// `[lists.NAME]` in the order of [`ListIndex`](tidegate_rules::ListIndex).
    pub lists: Vec<NamedList>,
    /// The files that `lookup` names, in the order of [`MapIndex`](tidegate_rules::MapIndex).
    pub maps: Vec<NamedMap>,
    /// `[user_lists.NAME]` in one spelling: rules that name them depend on it.
    pub(crate) users_written: Written,
    /// Every file that was read beside the configuration.
    pub files: Vec<FileRead>,
}

impl PartialEq for Tables {
    fn eq(&self, other: &Self) -> bool {
        let lists = |tables: &Self| -> Vec<_> {
            tables.lists.iter().map(|list| (list.name.clone(), list.written.clone())).collect()
        };
        let maps =
            |tables: &Self| -> Vec<_> { tables.maps.iter().map(|map| map.name.clone()).collect() };
        self.users_written == other.users_written
            && self.files == other.files
            && lists(self) == lists(other)
            && maps(self) == maps(other)
    }
}

/// `[lists.NAME]`.
#[derive(Clone, Debug)]
pub struct NamedList {
    /// Its key in the file.
    pub name: Arc<str>,
    /// What is in it.
    pub list: Arc<ValueList>,
    /// Its table in the file, in one spelling.
    pub(crate) written: Written,
}

/// A file that `lookup` names.
#[derive(Clone, Debug)]
pub struct NamedMap {
    /// As expressions name it.
    pub name: Arc<str>,
    /// What is in it.
    pub map: Arc<ValueMap>,
}

/// A file that the configuration names and that was read when it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// Its path, relative ones beside the configuration file's directory.
    pub path: PathBuf,
    /// How long it was, in bytes.
    pub bytes: usize,
    /// What tells this content from another one.
    pub digest: u64,
}
