//! What the machine says: cores and times.

use std::collections::BTreeSet;
use std::time::Duration;

/// Cores that this process may use, hyper-threads of one core counted once.
pub fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let siblings = |cpu: usize| {
        std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
    };
    let cores: BTreeSet<String> = (0..1024).map_while(|cpu| siblings(cpu).ok()).collect();
    if cores.is_empty() { allowed } else { cores.len().min(allowed) }
}

/// Milliseconds, to the microsecond.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Times of equal runs, summed up.
#[derive(Debug, PartialEq)]
pub struct Summary {
    /// The shortest.
    pub min: f64,
    /// As many are shorter as are longer.
    pub median: f64,
    /// The average.
    pub mean: f64,
    /// Longer than 99 of 100.
    pub p99: f64,
}

/// Sums up at least one time, in milliseconds.
pub fn summarise(times: &mut [Duration]) -> Summary {
    times.sort();
    let at =
        |quantile: f64| times[((times.len() - 1) as f64 * quantile).round() as usize].as_secs_f64() * 1e3;
    let total: Duration = times.iter().sum();
    Summary {
        min: at(0.0),
        median: at(0.5),
        mean: total.as_secs_f64() * 1e3 / times.len() as f64,
        p99: at(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up() {
        let mut times: Vec<Duration> = (1..=101).rev().map(Duration::from_millis).collect();
        let summary = summarise(&mut times);
        assert_eq!(summary, Summary { min: 1.0, median: 51.0, mean: 51.0, p99: 100.0 });
        assert!(physical_cores() >= 1);
    }
}
