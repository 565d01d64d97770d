//! Files that Protobuf schemas import and no registry holds, since every client has them: Confluent's notes and
//! decimal, and common types of Google. (`google/protobuf/*.proto` is the compiler's own.)

use protox::file::{File, FileResolver};

const FILES: [(&str, &str); 16] = [
    ("confluent/meta.proto", include_str!("../../proto/confluent/meta.proto")),
    ("confluent/type/decimal.proto", include_str!("../../proto/confluent/type/decimal.proto")),
    ("google/type/calendar_period.proto", include_str!("../../proto/google/type/calendar_period.proto")),
    ("google/type/color.proto", include_str!("../../proto/google/type/color.proto")),
    ("google/type/date.proto", include_str!("../../proto/google/type/date.proto")),
    ("google/type/datetime.proto", include_str!("../../proto/google/type/datetime.proto")),
    ("google/type/dayofweek.proto", include_str!("../../proto/google/type/dayofweek.proto")),
    ("google/type/decimal.proto", include_str!("../../proto/google/type/decimal.proto")),
    ("google/type/fraction.proto", include_str!("../../proto/google/type/fraction.proto")),
    ("google/type/interval.proto", include_str!("../../proto/google/type/interval.proto")),
    ("google/type/latlng.proto", include_str!("../../proto/google/type/latlng.proto")),
    ("google/type/localized_text.proto", include_str!("../../proto/google/type/localized_text.proto")),
    ("google/type/money.proto", include_str!("../../proto/google/type/money.proto")),
    ("google/type/month.proto", include_str!("../../proto/google/type/month.proto")),
    ("google/type/quaternion.proto", include_str!("../../proto/google/type/quaternion.proto")),
    ("google/type/timeofday.proto", include_str!("../../proto/google/type/timeofday.proto")),
];

/// Finds them by name.
pub(super) struct KnownFiles;

impl FileResolver for KnownFiles {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let found = FILES.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}
