//! The headers of messages that are read: those that somebody needs, as each one costs memory.

use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::{Message, message::Header};

use super::broker::MessageHeader;
use crate::format::SCHEMA_HEADERS;

/// Which headers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    None,
    /// Those that name schemas.
    Schemas,
    All,
}

impl Read {
    /// `all`: they are sent on. `with_schemas`: payloads or keys have schemas.
    pub fn new(all: bool, with_schemas: bool) -> Read {
        match (all, with_schemas) {
            (true, _) => Read::All,
            (false, true) => Read::Schemas,
            (false, false) => Read::None,
        }
    }

    /// Whether one of this name is read.
    pub fn has(self, name: &str) -> bool {
        self == Read::All || self == Read::Schemas && SCHEMA_HEADERS.contains(&name)
    }

    /// Those of a message; `None`: none are read.
    pub fn of(self, message: &BorrowedMessage<'_>) -> Option<Vec<MessageHeader>> {
        let wanted = |header: &Header<'_, &[u8]>| self.has(header.key);
        let owned = |header: Header<'_, &[u8]>| (header.key.to_string(), header.value.map(<[u8]>::to_vec));
        let found = || message.headers().map(|all| all.iter().filter(wanted).map(owned).collect());
        (self != Read::None).then(|| found().unwrap_or_default())
    }
}
