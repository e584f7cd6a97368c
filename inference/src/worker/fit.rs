//! Whether a model fits, said with numbers before any of it is loaded.

use std::fmt;
use std::path::Path;

/// Memory besides weights and cache: intermediate results, the tokeniser, grammars, the embedding model.
const BESIDES: u64 = 200_000_000;
/// The same on a card: the driver's own part, and workspace.
const BESIDES_ON_CARD: u64 = 700_000_000;

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Its weights.
    pub weights: u64,
    /// Keys and values of the whole cache.
    pub cache: u64,
    /// How many tokens that is.
    pub cache_tokens: u64,
    /// Everything else.
    pub besides: u64,
}

impl Need {
    /// On the processor.
    pub fn in_memory(weights: u64, token: u64, cache_tokens: u64) -> Need {
        Need {
            weights,
            cache: token.saturating_mul(cache_tokens),
            cache_tokens,
            besides: BESIDES,
        }
    }

    /// On a card.
    pub fn on_card(weights: u64, token: u64, cache_tokens: u64) -> Need {
        Need {
            besides: BESIDES_ON_CARD,
            ..Need::in_memory(weights, token, cache_tokens)
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.cache)
            .saturating_add(self.besides)
    }

    /// Compares it with what is free; `place` says where.
    ///
    /// # Errors
    /// The sentence with the numbers, when it is more.
    pub fn check(&self, free: Option<u64>, place: &str) -> Result<(), NoRoom> {
        match free {
            Some(free) if free < self.total() => Err(NoRoom {
                need: *self,
                free,
                place: place.to_owned(),
            }),
            // Where the system doesn't say what is free, trying is the only way to know.
            _ => Ok(()),
        }
    }
}

/// A model doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoom {
    need: Need,
    free: u64,
    place: String,
}

impl std::error::Error for NoRoom {}

impl fmt::Display for NoRoom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
        write!(
            out,
            "the model needs {} ({} of weights, {} for {} tokens of keys and values, {} besides) and {} of {} is free",
            gigabytes(self.need.total()),
            gigabytes(self.need.weights),
            gigabytes(self.need.cache),
            self.need.cache_tokens,
            gigabytes(self.need.besides),
            gigabytes(self.free),
            self.place,
        )
    }
}

/// Memory that this process can still have, in bytes: what the machine has left, the control groups it is in allow, and
/// its own limit on address space. None where nothing says so.
pub fn free_memory() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let machine = available(&read(Path::new("/proc/meminfo")));
    let group = groups(&read(Path::new("/proc/self/cgroup")))
        .filter_map(|folder| {
            let file = |name: &str| read(&folder.join(name));
            group_room(
                &file("memory.max"),
                &file("memory.current"),
                &file("memory.stat"),
            )
        })
        .min();
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let address_space = limit.map(|limit| {
        limit.saturating_sub(
            number(&read(Path::new("/proc/self/status")), "VmSize:").unwrap_or(0) * 1024,
        )
    });
    [machine, group, address_space].into_iter().flatten().min()
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn available(meminfo: &str) -> Option<u64> {
    number(meminfo, "MemAvailable:").map(|kilobytes| kilobytes * 1024)
}

/// The folders of the control groups that a process is in, innermost first (version 2).
fn groups(own: &str) -> impl Iterator<Item = std::path::PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let folder = own.map(|own| Path::new("/sys/fs/cgroup").join(own));
    let folders: Vec<_> = folder
        .iter()
        .flat_map(|f| f.ancestors())
        .take_while(|f| f.starts_with("/sys/fs/cgroup"))
        .map(Path::to_path_buf)
        .collect();
    folders.into_iter()
}

/// What a group may still take. Pages of files that nobody needs now count as taken there, but give way.
fn group_room(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let idle = number(stat, "inactive_file ").unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(idle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_told_with_its_numbers() {
        let need = Need::in_memory(4_900_000_000, 131_072, 16_384);
        let refusal = need.check(Some(5_000_000_000), "memory").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the model needs 7.25 GB (4.90 GB of weights, 2.15 GB for 16384 tokens of keys and values, 0.20 GB besides) and 5.00 GB of memory is free"
        );
        assert_eq!(need.check(Some(8_000_000_000), "memory"), Ok(()));
        assert_eq!(need.check(None, "memory"), Ok(()));
        assert!(
            Need::on_card(1, u64::MAX, 2)
                .check(Some(u64::MAX - 1), "card")
                .is_err()
        );
    }

    #[test]
    fn what_is_free_is_the_least_that_anybody_allows() {
        assert_eq!(
            available("MemTotal: 9 kB\nMemAvailable:  2048 kB\n"),
            Some(2 << 20)
        );
        let stat = "anon 5\ninactive_file 300\nactive_file 7\n";
        assert_eq!(group_room("1000\n", "900\n", stat), Some(400));
        assert_eq!(group_room("max\n", "900\n", stat), None);
        let folders: Vec<_> = groups("0::/a/b\n").collect();
        assert_eq!(
            folders,
            [
                Path::new("/sys/fs/cgroup/a/b"),
                Path::new("/sys/fs/cgroup/a"),
                Path::new("/sys/fs/cgroup")
            ]
        );
        assert!(free_memory().is_some());
    }
}
