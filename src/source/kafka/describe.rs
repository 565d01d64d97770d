//! The id of a topic, which a topic of the same name that was made anew doesn't have.
//!
//! rdkafka has no safe call for `DescribeTopics`, so this file calls librdkafka itself.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};

/// Something of librdkafka's that is destroyed with its own function.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the function that belongs to this destructor, and nothing else destroys it.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// The id of a topic as base64; `None` where the broker doesn't say (before Kafka 2.8) or not in time.
pub(super) fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Option<String> {
    let name = CString::new(topic).ok()?;
    let mut names = [name.as_ptr()];
    let millis = i32::try_from(timeout.as_millis()).ok()?;
    let rk = client.native_ptr();
    // SAFETY: `client` outlives all calls. `names` and `name` live until the collection, which copies them, is made. Queue,
    // collection, options and event are destroyed by `Owned`, the event last of what is read from it; strings and descriptions
    // belong to the event and are copied before it goes.
    unsafe {
        let queue = Owned(sys::rd_kafka_queue_new(rk), sys::rd_kafka_queue_destroy);
        let topics = Owned(
            sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            sys::rd_kafka_TopicCollection_destroy,
        );
        let options = Owned(
            sys::rd_kafka_AdminOptions_new(rk, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            sys::rd_kafka_AdminOptions_destroy,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, std::ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(rk, topics.0, options.0, queue.0);
        let event = Owned(sys::rd_kafka_queue_poll(queue.0, millis + 1000), sys::rd_kafka_event_destroy);
        if event.0.is_null() {
            return None;
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if described.is_null() || count == 0 {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*described);
        if id.is_null() {
            return None;
        }
        let text = sys::rd_kafka_Uuid_base64str(id);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
