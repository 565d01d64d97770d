//! Numbers as they are given and shown: `1M`, `8Gi`, `5m`.

/// Reads 50000, 50_000, 50k, 1.5M, 2G.
///
/// # Errors
/// What was expected instead.
pub fn number(text: &str) -> Result<f64, String> {
    let expected = || format!("expected a number such as 50000, 50k or 1M, found \"{text}\"");
    let (digits, factor) = match text.strip_suffix(['k', 'K', 'M', 'G']) {
        Some(digits) if text.ends_with('M') => (digits, 1e6),
        Some(digits) if text.ends_with('G') => (digits, 1e9),
        Some(digits) => (digits, 1e3),
        None => (text, 1.0),
    };
    plain(digits).map(|value| value * factor).ok_or_else(expected)
}

/// Reads bytes as Kubernetes has them: 512Mi, 8Gi, 8G.
///
/// # Errors
/// What was expected instead.
pub fn bytes(text: &str) -> Result<f64, String> {
    let units = [("Ki", 1024.0), ("Mi", 1_048_576.0), ("Gi", 1_073_741_824.0), ("Ti", 1_099_511_627_776.0)];
    match units.iter().find_map(|(unit, factor)| Some(plain(text.strip_suffix(unit)?)? * factor)) {
        Some(bytes) => Ok(bytes),
        None => number(text).map_err(|_| format!("expected bytes such as 512Mi, 8Gi or 8G, found \"{text}\"")),
    }
}

/// Reads 30s, 5m, 1h.
///
/// # Errors
/// What was expected instead.
pub fn seconds(text: &str) -> Result<f64, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let found = units.iter().find_map(|(unit, factor)| Some(plain(text.strip_suffix(unit)?)? * factor));
    found.ok_or_else(|| format!("expected a duration such as 30s, 5m or 1h, found \"{text}\""))
}

fn plain(digits: &str) -> Option<f64> {
    let fine = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
    let value = digits.chars().all(fine).then(|| digits.replace('_', "").parse::<f64>().ok())??;
    value.is_finite().then_some(value)
}

/// Three digits and a unit: 1.23M.
pub fn short(value: f64) -> String {
    scaled(value, &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)], "")
}

/// Bytes in powers of 1,000.
pub fn of_bytes(value: f64) -> String {
    scaled(value, &[("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("PB", 1e15)], " ")
}

/// Seconds.
pub fn of_seconds(value: f64) -> String {
    match value {
        v if v < 0.001 => format!("{:.0} µs", v * 1e6),
        v if v < 1.0 => format!("{:.0} ms", v * 1e3),
        v if v < 100.0 => format!("{v:.1} s"),
        v if v < 7200.0 => format!("{:.0} min", v / 60.0),
        v => format!("{:.1} h", v / 3600.0),
    }
}

fn scaled(value: f64, units: &[(&str, f64)], space: &str) -> String {
    // As it is rounded: 999.9k is 1.00M.
    let fits = |(_, factor): &&(&str, f64)| value * 1.0005 >= *factor;
    let (unit, factor) = units.iter().rev().find(fits).or(units.first()).copied().unwrap_or(("", 1.0));
    let value = value / factor;
    let digits = match value {
        v if factor == 1.0 && v.fract() == 0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{space}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        for (text, value) in [("50000", 5e4), ("50_000", 5e4), ("50k", 5e4), ("1.5M", 1.5e6), ("1G", 1e9)] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert_eq!((bytes("8Gi"), bytes("512Mi"), bytes("8G")), (Ok(8_589_934_592.0), Ok(536_870_912.0), Ok(8e9)));
        assert_eq!((seconds("5m"), seconds("90s"), seconds("250ms")), (Ok(300.0), Ok(90.0), Ok(0.25)));
        for text in ["", "k", "-5", "1e9", "inf", "5 k", "1M/s"] {
            assert!(number(text).is_err() && bytes(text).is_err() && seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn three_digits_are_shown() {
        let shown = [0.25, 7.0, 999.4, 1234.0, 99_960.0, 1e6, 1e9].map(short);
        assert_eq!(shown, ["0.25", "7", "999", "1.23k", "100k", "1.00M", "1.00G"]);
        assert_eq!([512.0, 123_456_789.0].map(of_bytes), ["512 B", "123 MB"]);
        assert_eq!([5e-5, 0.02, 3.21, 300.0, 9000.0].map(of_seconds), ["50 µs", "20 ms", "3.2 s", "5 min", "2.5 h"]);
    }
}
