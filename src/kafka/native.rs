//! A transactional producer over librdkafka itself, since rdkafka's producer has no place for an interceptor.
//!
//! Lives here: the calls of librdkafka that a [`super::producer::Sender`] makes, and the interceptor that learns which
//! requests of transactions had no answer. Must not live here: what follows from an error.
//!
//! librdkafka itself repeats a request of a transaction when its connection is cut, and reports success, while the
//! first one may still be on its way. Protocols before KIP-890 have one epoch for all transactions of a producer: so
//! the first one, arriving late, takes effect on the *next* transaction. Only an interceptor learns of such a request.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::bindings::rd_kafka_vtype_t as V;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::broker::Outgoing;
use super::context::Deliveries;
use super::describe::{Owned, text};

/// Name of the interceptor, for librdkafka.
const INTERCEPTOR: &CStr = c"kolk";
/// How long to wait for messages that a dropped producer returned.
const LAST_REPORTS: Duration = Duration::from_millis(500);

/// A producer. Its callbacks run in [`NativeProducer::poll`], [`NativeProducer::commit`] and [`NativeProducer::abort`],
/// on the thread that calls.
pub(super) struct NativeProducer {
    // Dropped before what its callbacks point to.
    client: Client<Deliveries>,
    unanswered: Arc<Unanswered>,
}

/// The first request of a transaction that was lost without an answer, by its API key; -1: none was.
struct Unanswered(AtomicI16);

/// A membership in a group, as of a moment.
pub(super) struct Member(Owned<sys::rd_kafka_consumer_group_metadata_t>);

/// Why a call about a transaction failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What librdkafka says.
    pub code: RDKafkaErrorCode,
    /// In librdkafka's words.
    pub text: String,
    /// The producer is broken.
    pub is_fatal: bool,
    /// The same call may continue where it stopped.
    pub is_retriable: bool,
    /// The transaction has to be aborted.
    pub requires_abort: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text, self.code)
    }
}

impl Failure {
    /// Takes an error of librdkafka's; null is none.
    ///
    /// # Safety
    /// The pointer is null or an error that nothing else destroys.
    unsafe fn of(error: *mut sys::rd_kafka_error_t) -> Result<(), Failure> {
        if error.is_null() {
            return Ok(());
        }
        let error = Owned(error, sys::rd_kafka_error_destroy);
        // SAFETY: the error lives until `error` is dropped; its text is copied.
        unsafe {
            let code: RDKafkaErrorCode = sys::rd_kafka_error_code(error.0).into();
            Err(Failure {
                text: text(sys::rd_kafka_error_string(error.0)).unwrap_or_else(|| code.to_string()),
                code,
                is_fatal: sys::rd_kafka_error_is_fatal(error.0) != 0,
                is_retriable: sys::rd_kafka_error_is_retriable(error.0) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error.0) != 0,
            })
        }
    }
}

// SAFETY: librdkafka only reads what it points to, from whatever thread; the one owner destroys it.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

impl Member {
    /// Who a consumer is in its group now; `None` if it is in none.
    pub fn of<C: ClientContext>(consumer: &Client<C>) -> Option<Member> {
        // SAFETY: the client is alive; the result is destroyed by `Owned`.
        let metadata = unsafe { sys::rd_kafka_consumer_group_metadata(consumer.native_ptr()) };
        (!metadata.is_null()).then(|| Member(Owned(metadata, sys::rd_kafka_consumer_group_metadata_destroy)))
    }
}

impl NativeProducer {
    /// Creates one; it connects on its own.
    ///
    /// # Errors
    /// Properties that librdkafka doesn't take.
    pub fn new(config: &ClientConfig) -> Result<NativeProducer, KafkaError> {
        let unanswered = Arc::new(Unanswered(AtomicI16::new(-1)));
        let native = config.create_native_config()?;
        // SAFETY: the configuration is alive. The callbacks' opaque is the context, which `Client::new` sets and keeps;
        // the interceptor's is `unanswered`, which is dropped after the client, whose drop waits for all threads that
        // call it.
        unsafe {
            sys::rd_kafka_conf_set_dr_msg_cb(native.ptr(), Some(delivered));
            sys::rd_kafka_conf_set_error_cb(native.ptr(), Some(failed));
            sys::rd_kafka_conf_set_log_cb(native.ptr(), Some(logged));
            let opaque = Arc::as_ptr(&unanswered).cast_mut().cast();
            let added =
                sys::rd_kafka_conf_interceptor_add_on_new(native.ptr(), INTERCEPTOR.as_ptr(), Some(begun), opaque);
            if added != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(KafkaError::ClientCreation(format!("no interceptor: {added:?}")));
            }
        }
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, Deliveries::default())?;
        Ok(NativeProducer { client, unanswered })
    }

    /// What its callbacks noted.
    pub fn context(&self) -> &Deliveries {
        self.client.context()
    }

    /// The client, to ask for something.
    pub fn client(&self) -> &Client<Deliveries> {
        &self.client
    }

    /// The request of a transaction of this producer that had no answer, if any: it may still arrive.
    pub fn unanswered(&self) -> Option<&'static str> {
        request(self.unanswered.0.load(Ordering::Acquire))
    }

    /// Takes the transactional id, and ends what an earlier producer left open.
    pub fn init_transactions(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: the client is alive; the error is taken.
        unsafe { Failure::of(sys::rd_kafka_init_transactions(self.client.native_ptr(), millis(timeout))) }
    }

    /// Begins a transaction.
    pub fn begin_transaction(&self) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe { Failure::of(sys::rd_kafka_begin_transaction(self.client.native_ptr())) }
    }

    /// Adds offsets to the transaction.
    pub fn send_offsets(&self, offsets: &TopicPartitionList, member: &Member, by: Duration) -> Result<(), Failure> {
        let rk = self.client.native_ptr();
        // SAFETY: as above; the list and the membership are copied.
        unsafe { Failure::of(sys::rd_kafka_send_offsets_to_transaction(rk, offsets.ptr(), member.0.0, millis(by))) }
    }

    /// Commits the transaction.
    pub fn commit(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe { Failure::of(sys::rd_kafka_commit_transaction(self.client.native_ptr(), millis(timeout))) }
    }

    /// Aborts the transaction.
    pub fn abort(&self, timeout: Duration) -> Result<(), Failure> {
        // SAFETY: as above.
        unsafe { Failure::of(sys::rd_kafka_abort_transaction(self.client.native_ptr(), millis(timeout))) }
    }

    /// Hands a message over; it is copied.
    pub fn send(&self, topic: &CStr, message: &Outgoing<'_>) -> Result<(), RDKafkaErrorCode> {
        let part = |part: Option<&[u8]>| match part {
            Some(bytes) => (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()),
            None => (std::ptr::null_mut(), 0),
        };
        let ((key, key_len), (payload, payload_len)) = (part(message.key), part(message.payload));
        let headers = headers(message);
        let raw = headers.as_ref().map_or(std::ptr::null_mut(), |headers| headers.0);
        // SAFETY: each argument is of the type that its tag says, the list ends with `END`; key and payload are copied.
        // The headers are librdkafka's from here on if it takes the message.
        let code = unsafe {
            sys::rd_kafka_producev(
                self.client.native_ptr(),
                V::RD_KAFKA_VTYPE_TOPIC,
                topic.as_ptr(),
                V::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                V::RD_KAFKA_VTYPE_VALUE,
                payload,
                payload_len,
                V::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                V::RD_KAFKA_VTYPE_TIMESTAMP,
                // 0 is the clock.
                message.timestamp.unwrap_or(0),
                V::RD_KAFKA_VTYPE_HEADERS,
                raw,
                V::RD_KAFKA_VTYPE_END,
            )
        };
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            std::mem::forget(headers);
            return Ok(());
        }
        Err(code.into())
    }

    /// Serves the callbacks, waiting for one for at most that long.
    pub fn poll(&self, timeout: Duration) {
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_poll(self.client.native_ptr(), millis(timeout)) };
    }

    /// Messages and reports that are not done with.
    pub fn in_flight(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.client.native_ptr()) }).unwrap_or(0)
    }
}

impl Drop for NativeProducer {
    fn drop(&mut self) {
        let all = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is alive. A message that is not reported when it goes would be waited for.
        unsafe {
            sys::rd_kafka_purge(self.client.native_ptr(), all);
            sys::rd_kafka_flush(self.client.native_ptr(), millis(LAST_REPORTS));
        }
    }
}

/// Headers for a message; none where there are none.
fn headers(message: &Outgoing<'_>) -> Option<Owned<sys::rd_kafka_headers_t>> {
    if message.headers.is_empty() {
        return None;
    }
    // SAFETY: names and values are copied, with their lengths; no value is a null pointer.
    unsafe {
        let headers = Owned(sys::rd_kafka_headers_new(message.headers.len()), sys::rd_kafka_headers_destroy);
        for (name, value) in message.headers {
            let (bytes, length) = match value {
                Some(value) => (value.as_ptr().cast::<c_void>(), value.len() as isize),
                None => (std::ptr::null(), 0),
            };
            sys::rd_kafka_header_add(headers.0, name.as_ptr().cast(), name.len() as isize, bytes, length);
        }
        Some(headers)
    }
}

/// The name of a topic, for librdkafka. A name with a zero byte can't be a topic's: planning refuses it.
pub(super) fn topic_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

/// Name of a request that is part of a transaction, by its API key.
fn request(key: i16) -> Option<&'static str> {
    match key {
        24 => Some("AddPartitionsToTxn"),
        25 => Some("AddOffsetsToTxn"),
        26 => Some("EndTxn"),
        28 => Some("TxnOffsetCommit"),
        _ => None,
    }
}

/// librdkafka created the client: from now on it reports responses.
unsafe extern "C" fn begun(
    rk: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> RDKafkaRespErr {
    // SAFETY: this is the one moment at which librdkafka takes it.
    unsafe {
        sys::rd_kafka_interceptor_add_on_response_received(rk, INTERCEPTOR.as_ptr(), Some(response_received), opaque)
    }
}

/// A response came, or will not; called by librdkafka's own threads, which must not wait.
unsafe extern "C" fn response_received(
    _: *mut sys::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    key: i16,
    _: i16,
    _: i32,
    _: usize,
    _: i64,
    error: RDKafkaRespErr,
    opaque: *mut c_void,
) -> RDKafkaRespErr {
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && request(key).is_some() {
        // SAFETY: `opaque` is the producer's `unanswered`, which outlives the client.
        let unanswered = unsafe { &*opaque.cast::<Unanswered>() };
        unanswered.0.store(key, Ordering::Release);
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// A message arrived or did not; only the latter is reported (`delivery.report.only.error`).
unsafe extern "C" fn delivered(_: *mut sys::rd_kafka_t, message: *const sys::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: the message and its topic live as long as this call; `opaque` is the context, which outlives the client.
    unsafe {
        let context = &*opaque.cast::<Deliveries>();
        if (*message).err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            let topic = text(sys::rd_kafka_topic_name((*message).rkt)).unwrap_or_default();
            let why = text(sys::rd_kafka_message_produce_errstr(message)).unwrap_or_default();
            context.undelivered(topic, (*message).err.into(), why);
        }
    }
}

/// An error of the client as a whole.
unsafe extern "C" fn failed(_: *mut sys::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    let code = RDKafkaRespErr::try_from(code).unwrap_or(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN);
    // SAFETY: the text lives as long as this call; `opaque` as above.
    unsafe {
        let context = &*opaque.cast::<Deliveries>();
        context.error(KafkaError::Global(code.into()), text(reason).unwrap_or_default().trim());
    }
}

/// A level of syslog's.
fn level_of(number: c_int) -> RDKafkaLogLevel {
    match number {
        0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// A line of librdkafka's log.
unsafe extern "C" fn logged(rk: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: the texts live as long as this call; the client's opaque is the context.
    unsafe {
        let context = &*sys::rd_kafka_opaque(rk).cast::<Deliveries>();
        let (facility, line) = (text(facility).unwrap_or_default(), text(line).unwrap_or_default());
        context.log(level_of(level), facility.trim(), line.trim());
    }
}
