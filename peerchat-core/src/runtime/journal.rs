//! [`note`]: what happens to a node, for whoever runs it. The log has no names, addresses, keys or texts.

use crate::event::Event;

/// Logs an event as far as an operator needs it: `info` for what a user would notice, `warn` for what somebody should
/// look into, `debug` for each message.
pub(super) fn note(event: &Event) {
    match event {
        Event::Bootstrapped { .. } => tracing::info!("a bootstrap node has answered"),
        Event::BootstrapFailed { code, .. } => tracing::warn!(?code, "a bootstrap call has failed"),
        Event::Online { contact_count } => tracing::info!(contact_count, "online"),
        Event::Offline => tracing::warn!("offline: no known node answers"),
        Event::Registered { .. } => tracing::info!("the name is registered"),
        Event::RegistrationFailed { code, .. } => tracing::warn!(?code, "the name is not registered"),
        Event::IdentityChanged { .. } => tracing::warn!("a name that is known belongs to another key now"),
        Event::NameContested { holders, .. } => {
            tracing::warn!(holder_count = holders.len(), "the network does not agree on a name");
        }
        Event::Message(_) => tracing::debug!("a message has arrived"),
        Event::MessageState { state, code, .. } => {
            tracing::debug!(?state, ?code, "a message of our own came further");
        }
        // When a person types is their business, and the driver logs why it stops.
        Event::Typing { .. } | Event::Closed { .. } => {}
    }
}
