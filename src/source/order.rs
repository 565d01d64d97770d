//! The order of a source's files in time, as far as footers tell it.
//!
//! Lives here: sorting files by their first times (`order: time`), and finding files that are read after later ones.
//! Must not live here: the order of single records (`runtime::engine`).

use ::parquet::file::statistics::Statistics;

use super::plan::PlannedFile;
use crate::record::Clock;

/// Row groups before one that it is compared with, besides the newest of all before it.
const NEAR: usize = 16;

/// Bounds of a column, as bytes that compare as its values do.
pub(super) type Bounds = (Vec<u8>, Vec<u8>);

/// The bounds of the keys of a row group; `None` where they aren't known.
pub(super) fn key_bounds(statistics: &Statistics) -> Option<Bounds> {
    if statistics.is_min_max_deprecated() && !statistics.is_min_max_backwards_compatible() {
        return None;
    }
    let ordered = |value: i64| ((value as u64) ^ (1 << 63)).to_be_bytes().to_vec();
    Some(match statistics {
        Statistics::ByteArray(bounds) => (bounds.min_opt()?.data().to_vec(), bounds.max_opt()?.data().to_vec()),
        Statistics::Int32(bounds) => (ordered((*bounds.min_opt()?).into()), ordered((*bounds.max_opt()?).into())),
        Statistics::Int64(bounds) => (ordered(*bounds.min_opt()?), ordered(*bounds.max_opt()?)),
        _ => return None,
    })
}

/// The bounds of a file's times that its row groups give together; `Err` if one doesn't say, `None` without any time.
fn span(file: &PlannedFile) -> Result<Option<(i64, i64)>, ()> {
    let mut all: Option<(i64, i64)> = None;
    for group in file.groups.iter().filter(|group| group.rows > 0 && !group.is_timeless) {
        let (low, high) = group.span.ok_or(())?;
        all = Some(all.map_or((low, high), |(lowest, highest)| (lowest.min(low), highest.max(high))));
    }
    Ok(all)
}

/// Sorts files by their first times, those of one time by their names. Files without a row are left out.
///
/// # Errors
/// Files whose footers don't say their times.
pub(super) fn by_time(files: Vec<PlannedFile>, time: &str) -> Result<Vec<PlannedFile>, Vec<String>> {
    let (mut placed, mut unknown) = (Vec::with_capacity(files.len()), Vec::new());
    for file in files {
        match span(&file) {
            Ok(Some((low, _))) => placed.push((low, file)),
            Ok(None) if file.rows() == 0 => {}
            Ok(None) => {
                unknown.push(format!("{}: order: time needs times, and none of its rows has one", file.file.shown))
            }
            Err(()) => unknown.push(format!(
                "{}: order: time needs statistics of column \"{time}\", which its footer doesn't have: write the file \
                 with statistics, or use order: path",
                file.file.shown
            )),
        }
    }
    if !unknown.is_empty() {
        return Err(unknown);
    }
    // They were sorted by name before.
    placed.sort_by_key(|(low, _)| *low);
    Ok(placed.into_iter().map(|(_, file)| file).collect())
}

/// A stretch of the source: a row group, in the order of reading.
struct Stretch<'a> {
    file: usize,
    span: (i64, i64),
    keys: Option<&'a Bounds>,
}

impl Stretch<'_> {
    /// Whether all of it is before all of `earlier`, which is read before it, though they may share a key.
    fn falls_behind(&self, earlier: &Stretch<'_>) -> bool {
        let disjoint = match (self.keys, earlier.keys) {
            (Some((low, high)), Some((other_low, other_high))) => high < other_low || low > other_high,
            _ => false,
        };
        self.span.1 < earlier.span.0 && !disjoint
    }
}

/// What is said of files whose times go down in the order of reading, if any do. `folder` comes before their names.
pub(super) fn falls(files: &[PlannedFile], folder: &str, clock: &Clock) -> Vec<String> {
    let stretches: Vec<Stretch<'_>> = files
        .iter()
        .enumerate()
        .flat_map(|(file, planned)| planned.groups.iter().map(move |group| (file, group)))
        .filter_map(|(file, group)| Some(Stretch { file, span: group.span?, keys: group.keys.as_ref() }))
        .collect();
    let name = |stretch: &Stretch<'_>| format!("{folder}{}", files[stretch.file].file.name);
    let mut newest = 0;
    let mut places: Vec<usize> = Vec::new();
    for (at, later) in stretches.iter().enumerate() {
        // Those next to it, since the newest may be of other keys.
        let near = at.saturating_sub(NEAR)..at;
        if later.falls_behind(&stretches[newest]) || near.into_iter().any(|near| later.falls_behind(&stretches[near])) {
            places.push(at);
        }
        if later.span.0 > stretches[newest].span.0 {
            newest = at;
        }
    }
    let Some(first) = places.first() else { return Vec::new() };
    let later = &stretches[*first];
    // The first one that should have come after it.
    let earlier = stretches[..*first].iter().find(|earlier| later.falls_behind(earlier));
    let Some(earlier) = earlier else { return Vec::new() };
    let more = match places.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    if earlier.file == later.file {
        return vec![format!(
            "{}: the times of its row groups go down (from {} after {}{more}): rows are older than their key's newest; \
             sort it by time",
            name(later),
            clock.text(later.span.0),
            clock.text(earlier.span.0),
        )];
    }
    vec![format!(
        "the times of the files go down in the order in which they are read: {} (from {}) comes before {} (until {}){more}; \
         write source: {{ parquet: {{ path: …, order: time }} }}, or names that sort by time (part-02 for part-2)",
        name(earlier),
        clock.text(earlier.span.0),
        name(later),
        clock.text(later.span.1),
    )]
}
