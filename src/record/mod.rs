//! Records, and the batch that flows between stages: columns, key slot, time, position.
//!
//! Lives here: what a source delivers ([`Records`]), the shape of a batch ([`Layout`]), its values ([`Batch`]), the
//! time line ([`Clock`]), and the way into Arrow. Must not live here: reading (`source`), operators (`stage`), writing
//! (`sink`).

mod batch;
mod clock;
mod decimal;
mod key;
mod key_type;
mod layout;
pub mod logarithm;
mod partition;
mod range;
mod records;
mod shard;
mod vector;
mod zone;

pub use batch::{Batch, Column, Reject, Values, keep};
pub use clock::{Clock, Every, NO_TIME};
pub use decimal::{digits, nearest, nearest_of_digits};
pub use key::{murmur2, partition_of};
pub use key_type::{KeyType, hexadecimal, is_uuid, uuid_text};
pub use layout::{Constant, Features, Forecast, Kind, Layout, LayoutColumn, Role};
pub use partition::{PartitionId, SourceTopic};
pub use range::{TIME_OUT_OF_RANGE, TimeRange, explain as explain_beyond, rows_beyond};
pub use records::{Origin, Records};
pub use shard::Shard;
pub use vector::{BAD_VECTOR, SamplesOf, VectorBuilder, samples_of, vector_numbers, vector_of};
pub use zone::in_utc;
