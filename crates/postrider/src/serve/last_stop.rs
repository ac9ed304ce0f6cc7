//! Whether a delivery is the end of the way: a mailbox, and no next hop that knows more.
//!
//! Promises: what the configuration in force says. Refuses: remembering who delivered what; a success that
//! is reported after its route was changed is called by the new one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mail::Address;

use super::deliveries::Transports;
use super::routes::Routes;

/// See the module.
#[derive(Clone)]
pub(crate) struct LastStop {
    pub(crate) routes: Arc<Routes>,
    pub(crate) transports: Arc<ArcSwap<Transports>>,
}

impl LastStop {
    /// Whether mail that was sent to the address is delivered, and not relayed (RFC 3464 2.3.3).
    pub(crate) fn is_delivery(&self, address: &Address) -> bool {
        let route = self.routes.resolve(address);
        self.transports.load().get(&route.transport).is_some_and(|transport| transport.is_final_delivery())
    }
}
