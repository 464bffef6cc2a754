//! What the process asks of the operating system once, at its start.
//!
//! Owns limits and CPUs; leaves everything that happens later to others. Invariant: nothing here changes what is served.

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};

use tidegate_config::Cores;

/// The kernel's default for the length of a listen queue, where it cannot be read.
const SOMAXCONN: u32 = 4096;

/// Raises the limits on open files and on locked memory, which rings count against, as far as allowed; the limit on open
/// files now, `None` for no limit.
pub(crate) fn raise_limits() -> Option<u64> {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let mut limit = getrlimit(resource);
        if limit.current != limit.maximum {
            limit.current = limit.maximum;
            // Where it is refused the old limit stays.
            let _ = setrlimit(resource, limit);
        }
    }
    getrlimit(Resource::Nofile).current
}

/// Whether the kernel may write the memory of this process into a file when it crashes, and let others of the same user read
/// it (`PR_SET_DUMPABLE`, ptrace(2)).
pub(crate) fn allow_core_dumps(allowed: bool) {
    let behavior = if allowed { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    // Both values are allowed to every process.
    let _ = set_dumpable_behavior(behavior);
}

/// The longest listen queue the kernel allows (`net.core.somaxconn`).
pub(crate) fn listen_queue_max() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(SOMAXCONN)
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
