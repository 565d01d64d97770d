//! What brokers report about a topic or a group beyond what rdkafka asks: the id of a topic (a topic of the same name
//! that was created again has another one), and what the user of this client may do.
//!
//! rdkafka has no safe call for `DescribeTopics` and `DescribeConsumerGroups`, so this file calls librdkafka itself.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use super::acl::Rights;

/// A topic.
pub(super) struct Described {
    /// Its id as base64, the same for all topics where the broker has none (before Kafka 2.8).
    pub id: String,
    /// What the user of this client may do with it.
    pub rights: Rights,
}

/// A group.
pub(super) struct Members {
    /// What the user of this client may do with it.
    pub rights: Rights,
    /// What the group is doing.
    pub state: State,
    /// Whether it is one of the consumer protocol (KIP-848), not of the classic one.
    pub of_consumer_protocol: bool,
    /// How its members have agreed to share partitions; empty during a rebalance, and without members.
    pub assignor: String,
    /// How many there are.
    pub count: usize,
}

/// What a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Rebalancing,
    Stable,
    /// It has no members, or isn't there.
    Other,
}

/// How something is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// How long the answer may take.
    pub timeout: Duration,
    /// Whether the answer has the rights, which costs the broker more.
    pub with_rights: bool,
    /// Which broker is asked. By default it is the controller, as far as the client knows: one that died is waited for.
    pub broker: Option<i32>,
}

impl Asked {
    /// A question that includes the rights.
    pub fn with_rights(timeout: Duration) -> Asked {
        Asked { timeout, with_rights: true, broker: None }
    }
}

/// Why there is no answer; asked again, there may be one.
#[derive(Debug)]
pub(super) struct Silence {
    /// What librdkafka says, if anything.
    pub code: Option<RDKafkaErrorCode>,
    /// In librdkafka's words.
    pub text: String,
}

impl Silence {
    fn new(text: impl std::fmt::Display) -> Silence {
        Silence { code: None, text: text.to_string() }
    }

    fn late() -> Silence {
        Silence::new("no answer in time")
    }

    /// What librdkafka says is wrong, if anything is.
    ///
    /// # Safety
    /// The pointer is null or points to an error that lives as long as this call.
    unsafe fn of(error: *const sys::rd_kafka_error_t) -> Result<(), Silence> {
        // SAFETY: as asked of the caller; null is an error of librdkafka's without a code.
        let (code, said) = unsafe { (sys::rd_kafka_error_code(error), sys::rd_kafka_error_string(error)) };
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        let code: RDKafkaErrorCode = code.into();
        // SAFETY: the text belongs to the error.
        let text = unsafe { text(said) }.unwrap_or_else(|| code.to_string());
        Err(Silence { code: Some(code), text })
    }
}

/// Something of librdkafka's that is destroyed with its own function.
pub(super) struct Owned<T>(pub *mut T, pub unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the function that belongs to this destructor, and nothing else destroys it.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Asks for a topic.
///
/// # Errors
/// Why there is no answer.
pub(super) fn topic<C: ClientContext>(client: &Client<C>, topic: &str, asked: Asked) -> Result<Described, Silence> {
    topics(client, &[topic], asked)?.pop().unwrap_or_else(|| Err(Silence::late()))
}

/// Asks for topics, all in one request. Each has an answer of its own, in their order.
///
/// # Errors
/// Why there is no answer at all.
pub(super) fn topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    asked: Asked,
) -> Result<Vec<Result<Described, Silence>>, Silence> {
    let names: Vec<CString> =
        topics.iter().map(|name| CString::new(*name)).collect::<Result<_, _>>().map_err(Silence::new)?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: `pointers` and `names` live until the collection, which copies them, is made; the collection lives until
    // the request is made, which copies it.
    let collection = unsafe {
        Owned(
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            sys::rd_kafka_TopicCollection_destroy,
        )
    };
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = answer(client, operation, asked, |rk, options, queue| {
        // SAFETY: all four are alive.
        unsafe { sys::rd_kafka_DescribeTopics(rk, collection.0, options, queue) }
    })?;
    // SAFETY: the result, its descriptions and everything of theirs belong to the event, and are copied before it goes.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let described = match result.is_null() {
            true => return Err(Silence::late()),
            false => sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count),
        };
        if described.is_null() || count == 0 {
            return Err(Silence::late());
        }
        let mut found: BTreeMap<String, Result<Described, Silence>> = BTreeMap::new();
        for described in std::slice::from_raw_parts(described, count) {
            let name = text(sys::rd_kafka_TopicDescription_name(*described)).unwrap_or_default();
            found.insert(name, description(*described));
        }
        Ok(topics.iter().map(|name| found.remove(*name).unwrap_or_else(|| Err(Silence::late()))).collect())
    }
}

/// A copy of a description.
///
/// # Safety
/// It is alive.
unsafe fn description(described: *const sys::rd_kafka_TopicDescription_t) -> Result<Described, Silence> {
    let mut count = 0;
    // SAFETY: as asked of the caller; what belongs to the description is copied.
    unsafe {
        Silence::of(sys::rd_kafka_TopicDescription_error(described))?;
        let id = sys::rd_kafka_TopicDescription_topic_id(described);
        if id.is_null() {
            return Err(Silence::late());
        }
        let id = text(sys::rd_kafka_Uuid_base64str(id)).ok_or_else(Silence::late)?;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(described, &raw mut count);
        Ok(Described { id, rights: rights(operations, count) })
    }
}

/// Asks for a group, which need not be there, and what may be done with it. Not for a process that runs: see
/// [`listed`].
///
/// # Errors
/// Why there is no answer.
pub(super) fn group<C: ClientContext>(client: &Client<C>, group: &str, timeout: Duration) -> Result<Members, Silence> {
    let name = CString::new(group).map_err(Silence::new)?;
    let mut names = [name.as_ptr()];
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = answer(client, operation, Asked::with_rights(timeout), |rk, options, queue| {
        // SAFETY: client, options and queue are alive; the names are copied by the call.
        unsafe { sys::rd_kafka_DescribeConsumerGroups(rk, names.as_mut_ptr(), names.len(), options, queue) }
    })?;
    // SAFETY: as in `topic`.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        let mut count = 0;
        let described = match result.is_null() {
            true => return Err(Silence::late()),
            false => sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count),
        };
        if described.is_null() || count == 0 {
            return Err(Silence::late());
        }
        let described = *described;
        Silence::of(sys::rd_kafka_ConsumerGroupDescription_error(described))?;
        let operations = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(described, &raw mut count);
        Ok(Members {
            rights: rights(operations, count),
            state: state(sys::rd_kafka_ConsumerGroupDescription_state(described)),
            of_consumer_protocol: sys::rd_kafka_ConsumerGroupDescription_type(described)
                == sys::rd_kafka_consumer_group_type_t::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(described)).unwrap_or_default(),
            count: sys::rd_kafka_ConsumerGroupDescription_member_count(described),
        })
    }
}

/// Asks all brokers for a group, which need not be there; what may be done with it isn't reported. For a process that
/// runs: librdkafka 2.12 aborts the process where a coordinator answers [`group`] after its time is over
/// (`rd_kafka_enq_once_del_source_return`), as one that was frozen does.
///
/// # Errors
/// Why there is no answer.
pub(super) fn listed<C: ClientContext>(client: &Client<C>, group: &str, timeout: Duration) -> Result<Members, Silence> {
    let name = CString::new(group).map_err(Silence::new)?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut list: *const sys::rd_kafka_group_list = std::ptr::null();
    // SAFETY: the client and the name are alive during the call. The list is null, or it and everything of its belongs
    // to this function, is copied, and is then destroyed by its own function.
    unsafe {
        let code = sys::rd_kafka_list_groups(client.native_ptr(), name.as_ptr(), &raw mut list, millis);
        if list.is_null() {
            let code: RDKafkaErrorCode = code.into();
            return Err(Silence { code: Some(code), text: code.to_string() });
        }
        let groups = match usize::try_from((*list).group_cnt).unwrap_or(0) {
            0 => &[][..],
            count => std::slice::from_raw_parts((*list).groups, count),
        };
        let found = groups.iter().find(|found| text(found.group).as_deref() == Some(group));
        let members = Members {
            rights: Rights::default(),
            state: found.and_then(|found| text(found.state)).map_or(State::Other, |name| State::named(&name)),
            of_consumer_protocol: false,
            assignor: found.and_then(|found| text(found.protocol)).unwrap_or_default(),
            count: found.map_or(0, |found| usize::try_from(found.member_cnt).unwrap_or(0)),
        };
        sys::rd_kafka_group_list_destroy(list);
        Ok(members)
    }
}

impl State {
    /// As brokers write it.
    fn named(name: &str) -> State {
        match name {
            "PreparingRebalance" | "CompletingRebalance" | "AwaitingSync" => State::Rebalancing,
            "Stable" => State::Stable,
            _ => State::Other,
        }
    }
}

fn state(state: sys::rd_kafka_consumer_group_state_t) -> State {
    use sys::rd_kafka_consumer_group_state_t as Their;
    match state {
        Their::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE
        | Their::RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE => State::Rebalancing,
        Their::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE => State::Stable,
        _ => State::Other,
    }
}

/// Makes a request, which may include the rights, and waits for its answer, which is not an error as a whole.
fn answer<C: ClientContext>(
    client: &Client<C>,
    operation: sys::rd_kafka_admin_op_t,
    Asked { timeout, with_rights, broker }: Asked,
    ask: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Owned<sys::rd_kafka_event_t>, Silence> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX - 1000);
    let rk = client.native_ptr();
    // SAFETY: `client` outlives all calls; queue, options and event are destroyed by `Owned`. An error of setting an
    // option is owned here. The error's text belongs to the event and is copied.
    unsafe {
        let queue = Owned(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy);
        let options = Owned(sys::rd_kafka_AdminOptions_new(rk, operation), sys::rd_kafka_AdminOptions_destroy);
        sys::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, std::ptr::null_mut(), 0);
        if let Some(broker) = broker {
            sys::rd_kafka_AdminOptions_set_broker(options.0, broker, std::ptr::null_mut(), 0);
        }
        let set = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, with_rights.into());
        drop(Owned(set, sys::rd_kafka_error_destroy));
        ask(rk, options.0, queue.0);
        let event = Owned(sys::rd_kafka_queue_poll(queue.0, millis + 1000), sys::rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err(Silence::late());
        }
        let code = sys::rd_kafka_event_error(event.0);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let code: RDKafkaErrorCode = code.into();
            let text = text(sys::rd_kafka_event_error_string(event.0)).unwrap_or_else(|| code.to_string());
            return Err(Silence { code: Some(code), text });
        }
        Ok(event)
    }
}

/// A copy of a list of rights.
///
/// # Safety
/// The pointer is null or points to `count` operations.
unsafe fn rights(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> Rights {
    if operations.is_null() {
        return Rights::default();
    }
    // SAFETY: as asked of the caller; read as numbers, since a newer broker may have some that the enum doesn't know.
    Rights::new(unsafe { std::slice::from_raw_parts(operations.cast::<u32>(), count) }.to_vec())
}

/// A copy of a text of librdkafka's.
///
/// # Safety
/// The pointer is null or points to a text that ends with a zero byte.
pub(super) unsafe fn text(pointer: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as asked of the caller.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
