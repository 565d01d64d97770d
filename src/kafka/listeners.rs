//! Whether the addresses that brokers advertise can be reached: a client begins at `brokers`, and goes on with those.
//!
//! A listener with a wrong `advertised.listeners` answers the first question and no other: each one after it would take
//! its whole time.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rdkafka::metadata::Metadata;

/// How long a name may take to be resolved, and an address to take a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// A broker that just starts, or moves, advertises an address before it listens there.
const AGAIN: Duration = Duration::from_millis(500);
/// How often an address is tried.
const ATTEMPTS: u32 = 3;

/// Advertised addresses that take no connection, by broker, each with the reason.
#[derive(Debug, Default)]
pub(super) struct Unreachable(Vec<(i32, String)>);

impl Unreachable {
    /// Tries every address of the metadata, all at once.
    pub fn of(metadata: &Metadata) -> Unreachable {
        let brokers = metadata.brokers().iter().map(|it| (it.id(), it.host().to_string(), it.port()));
        Unreachable::among(brokers.collect(), ATTEMPTS)
    }

    fn among(brokers: Vec<(i32, String, i32)>, attempts: u32) -> Unreachable {
        let (sender, answers) = channel();
        let count = brokers.len();
        let mut waiting: Vec<(i32, String)> = Vec::with_capacity(count);
        for (id, host, port) in brokers {
            waiting.push((id, format!("{host}:{port} (no answer within {} s)", PATIENCE.as_secs())));
            let sender = sender.clone();
            // A thread of its own, since nothing ends the search for a name. It ends by itself.
            std::thread::spawn(move || {
                let why = connected(&host, port, attempts).err().map(|error| format!("{host}:{port} ({error})"));
                drop(sender.send((id, why)));
            });
        }
        drop(sender);
        let until = Instant::now() + PATIENCE + AGAIN * attempts;
        let mut found = Vec::new();
        while let Ok((id, why)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
            waiting.retain(|(other, _)| *other != id);
            found.extend(why.map(|why| (id, why)));
        }
        found.append(&mut waiting);
        found.sort();
        Unreachable(found)
    }

    /// Says that no broker can be reached, if that is so.
    pub fn all(&self, metadata: &Metadata, brokers: &str) -> Option<String> {
        let none = !self.0.is_empty() && self.0.len() == metadata.brokers().len();
        none.then(|| {
            format!(
                "the brokers at {brokers} answer, but tell clients to go on at {}, which can't be reached from here\n\
                 set advertised.listeners of the brokers to names that this machine resolves and reaches, or write the \
                 listener that is meant for it as `brokers`",
                self.listed(|_| true)
            )
        })
    }

    /// Says which leaders of a topic's partitions can't be reached, if any.
    pub fn leaders(&self, metadata: &Metadata, topic: &str) -> Option<String> {
        let found = metadata.topics().iter().find(|found| found.name() == topic)?;
        let away = |leader: i32| self.0.iter().any(|(id, _)| *id == leader);
        let partitions: Vec<String> =
            found.partitions().iter().filter(|it| away(it.leader())).map(|it| it.id().to_string()).collect();
        (!partitions.is_empty()).then(|| {
            let leads = |id: i32| found.partitions().iter().any(|it| it.leader() == id);
            format!(
                "topic {topic}: the leaders of partitions {} advertise {}, which can't be reached from here",
                partitions.join(", "),
                self.listed(leads)
            )
        })
    }

    fn listed(&self, which: impl Fn(i32) -> bool) -> String {
        let listed: Vec<&str> = self.0.iter().filter(|(id, _)| which(*id)).map(|(_, why)| why.as_str()).collect();
        listed.join(", ")
    }
}

fn connected(host: &str, port: i32, attempts: u32) -> io::Result<()> {
    let mut last = io::Error::other("there is no such port");
    let Ok(port) = u16::try_from(port) else { return Err(last) };
    for attempt in 0..attempts {
        if attempt > 0 {
            std::thread::sleep(AGAIN);
        }
        // Brackets of an address of IPv6 are part of a URL, not of a name.
        let addresses: Vec<SocketAddr> = match (host.trim_matches(['[', ']']), port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Err(io::Error::other(format!("the name can't be resolved: {error}"))),
        };
        for address in &addresses {
            match TcpStream::connect_timeout(address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_addresses_that_take_no_connection_are_named() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let [there, away] = [&open, &closed].map(|it| i32::from(it.local_addr().unwrap().port()));
        drop(closed);
        let brokers = vec![
            (1, "127.0.0.1".to_string(), there),
            (2, "127.0.0.1".to_string(), away),
            (3, "no-such-host.invalid".to_string(), there),
        ];
        let found = Unreachable::among(brokers, 1).0;
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 3]);
        assert!(found[0].1.starts_with(&format!("127.0.0.1:{away} (")), "{found:?}");
        assert!(found[1].1.contains("no-such-host.invalid"), "{found:?}");
    }
}
