//! What the process asks of the operating system once, at its start.
//!
//! Owns limits and CPUs; leaves everything that happens later to others. Invariant: nothing here changes what is served.

use rustix::process::{Resource, getrlimit, setrlimit};

use tidegate_config::Cores;

/// Raises the limit on open files as far as allowed; the limit now, `None` for no limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where it is refused the old limit stays, which is what is reported.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// The CPUs that get a shard each.
pub(crate) fn shard_cpus(cores: &Cores) -> Vec<usize> {
    match cores {
        Cores::List(list) => list.clone(),
        Cores::Auto => {
            let allowed = rustix::thread::sched_getaffinity(None).ok();
            let cpus: Vec<usize> = allowed
                .map(|set| {
                    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
                })
                .unwrap_or_default();
            if cpus.is_empty() { vec![0] } else { cpus }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_means_every_cpu_this_process_may_use_and_a_list_means_itself() {
        let auto = shard_cpus(&Cores::Auto);
        assert_eq!(auto.len(), std::thread::available_parallelism().map_or(1, usize::from));
        assert_eq!(shard_cpus(&Cores::List(vec![3, 1])), [3, 1]);
    }
}
