//! The shape of a scenario file, as serde sees it. Every value keeps its place, so that a fault found
//! later can still say where it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

/// A table whose keys are parameters of the engine.
pub(crate) type Settings = BTreeMap<Spanned<String>, Spanned<Value>>;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) title: String,
    pub(crate) preset: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) qmgr: Settings,
    #[serde(default)]
    pub(crate) flush: Settings,
    #[serde(default)]
    pub(crate) transport: BTreeMap<Spanned<String>, Settings>,
    #[serde(default)]
    pub(crate) route: Route,
    #[serde(default)]
    pub(crate) world: World,
    #[serde(default)]
    pub(crate) site: Vec<Site>,
    #[serde(default)]
    pub(crate) message: Vec<Message>,
    #[serde(default)]
    pub(crate) operator: Vec<Operator>,
}

/// `[route]`: what the resolver knows beside the sites.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) local_domains: Option<Spanned<Value>>,
    pub(crate) relay_domains: Option<Spanned<Value>>,
    pub(crate) parent_domain_matches_subdomains: Option<bool>,
}

/// `[world]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct World {
    pub(crate) agents_from: Option<Spanned<Value>>,
    pub(crate) until: Option<Spanned<Value>>,
    pub(crate) seed: Option<u64>,
}

/// `[[site]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) name: Spanned<String>,
    pub(crate) takes: Option<Spanned<Value>>,
    pub(crate) answers: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) transport: Option<Spanned<String>>,
    pub(crate) resolves: Option<bool>,
}

/// `[[message]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) name: Spanned<String>,
    pub(crate) copies: Option<Spanned<u64>>,
    pub(crate) at: Option<Spanned<Value>>,
    pub(crate) entered: Option<Spanned<Value>>,
    pub(crate) before_selection: Option<Spanned<u64>>,
    pub(crate) sender: Option<Spanned<String>>,
    pub(crate) to: Spanned<Vec<Spanned<Value>>>,
    pub(crate) queue: Option<Spanned<String>>,
    pub(crate) next_attempt: Option<Spanned<Value>>,
    #[serde(default)]
    pub(crate) damaged: bool,
}

/// `[[operator]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operator {
    pub(crate) at: Option<Spanned<Value>>,
    #[serde(rename = "do")]
    pub(crate) action: Spanned<String>,
}
