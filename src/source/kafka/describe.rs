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

/// The id of a topic as base64, the same for all topics where the broker has none (before Kafka 2.8).
///
/// # Errors
/// Why there is no answer, in librdkafka's words; asked again, there may be one.
pub(super) fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<String, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    let mut names = [name.as_ptr()];
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX - 1000);
    let rk = client.native_ptr();
    let no_answer = || "no answer in time".to_string();
    // SAFETY: `client` outlives all calls. `names` and `name` live until the collection, which copies them, is made. Queue,
    // collection, options and event are destroyed by `Owned`, the event last of what is read from it; strings, errors and
    // descriptions belong to the event and are copied before it goes.
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
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if event.0.is_null() || result.is_null() {
            return Err(no_answer());
        }
        if sys::rd_kafka_event_error(event.0) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(sys::rd_kafka_event_error_string(event.0)).unwrap_or_else(no_answer));
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if described.is_null() || count == 0 {
            return Err(no_answer());
        }
        let error = sys::rd_kafka_TopicDescription_error(*described);
        if sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(sys::rd_kafka_error_string(error)).unwrap_or_else(no_answer));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*described);
        if id.is_null() {
            return Err(no_answer());
        }
        text(sys::rd_kafka_Uuid_base64str(id)).ok_or_else(no_answer)
    }
}

/// A copy of a text of librdkafka's.
///
/// # Safety
/// The pointer is null or points to a text that ends with a zero byte.
unsafe fn text(pointer: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as asked of the caller.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
