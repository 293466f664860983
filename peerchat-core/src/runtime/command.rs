//! [`Command`]: what a client asks of its driver.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::client::Statistics;
use crate::error::Error;
use crate::event::{CommandId, MessageId};
use crate::identity::Recipient;
use crate::kademlia::NodeKey;
use crate::user::{Decision, FoundUser, LookupError};

/// Where the answer to a sent message goes.
pub(crate) type SendDone = oneshot::Sender<Result<MessageId, Error>>;

/// Where it goes that a decision is on disk, or that something was taken that needs none.
pub(crate) type DecideDone = oneshot::Sender<Result<(), Error>>;

/// Something asked of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Join the network.
    Bootstrap {
        id: CommandId,
        text: String,
        /// The addresses that `text` stands for, or why there are none.
        addresses: Result<Vec<SocketAddr>, String>,
        key: Option<NodeKey>,
    },
    /// Save a text for sending.
    Send { to: Recipient, text: String, lifetime: Option<Duration>, done: SendDone },
    /// Take a text for sending; that it is saved is told by an event.
    Enqueue { to: Recipient, text: String, taken: SendDone },
    /// Look a name up.
    Lookup { id: CommandId, name: Recipient, done: oneshot::Sender<Result<FoundUser, LookupError>> },
    /// Do what the application decided about a person.
    Decide { id: CommandId, decision: Decision, done: DecideDone },
    /// Tell somebody, if they are there, whether this user types.
    SetTyping { to: Recipient, is_typing: bool, done: DecideDone },
    /// Count.
    Statistics { done: oneshot::Sender<Statistics> },
    /// Save what is in flight and stop.
    Close,
}
