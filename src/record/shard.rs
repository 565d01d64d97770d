//! One of several processes that share the partitions of a run over files.
//!
//! Lives here: which partitions are a shard's. Must not live here: the partition of a key (`key`), what a process does
//! with its partitions (`runtime`).

use std::fmt;

/// `I/N`: of the partitions, every N-th from number I on. By default the only shard, which has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Default for Shard {
    fn default() -> Shard {
        Shard { index: 0, count: 1 }
    }
}

impl Shard {
    /// Reads `I/N`.
    ///
    /// # Errors
    /// What was expected instead, for the user.
    pub fn parse(text: &str) -> Result<Shard, String> {
        // `3`, and no other form such as `+3`, which a whole number in Rust may have.
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let parts = text.split_once('/').and_then(|(index, count)| Some((number(index)?, number(count)?)));
        match parts {
            Some((index, count)) if index < count => Ok(Shard { index, count }),
            Some((index, count)) if count > 0 => {
                Err(format!("of {count} shards the last is {}/{count}, found {index}/{count}", count - 1))
            }
            _ => Err("expected I/N, such as 0/8 for the first of 8 shards and 7/8 for the last".into()),
        }
    }

    /// How many shards there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether there are others.
    pub fn is_one_of_several(self) -> bool {
        self.count > 1
    }

    /// Whether a partition is of this shard.
    pub fn has(self, partition: u32) -> bool {
        partition % self.count == self.index
    }

    /// Its partitions of so many, in order.
    pub fn of(self, partitions: u32) -> impl Iterator<Item = u32> {
        (self.index..partitions).step_by(self.count as usize)
    }

    /// The place of one of its partitions among them.
    pub fn place_of(self, partition: u32) -> usize {
        (partition / self.count) as usize
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_of_one_shard() {
        for (partitions, count) in [(16, 1), (16, 4), (16, 16), (16, 5), (3, 2), (1, 1)] {
            let mut taken = vec![0; partitions as usize];
            for index in 0..count {
                let shard = Shard::parse(&format!("{index}/{count}")).unwrap();
                assert_eq!(shard.to_string(), format!("{index}/{count}"));
                for (place, partition) in shard.of(partitions).enumerate() {
                    taken[partition as usize] += 1;
                    assert!(shard.has(partition));
                    assert_eq!(shard.place_of(partition), place);
                }
            }
            assert!(taken.iter().all(|shards| *shards == 1), "{partitions} {count}: {taken:?}");
        }
        assert_eq!(Shard::default(), Shard::parse("0/1").unwrap());
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        for text in ["", "1", "/", "1/", "/4", "0/0", "-1/4", "+1/4", "a/b", "1/4/2", " 1/4", "1/99999999999"] {
            assert!(Shard::parse(text).unwrap_err().contains("expected I/N"), "{text}");
        }
        assert!(Shard::parse("4/4").unwrap_err().contains("the last is 3/4"));
    }
}
