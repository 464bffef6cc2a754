//! Whether this kernel and its settings allow the data ring, and if not, what to change.
//!
//! Owns the question; leaves making the real ring to `ring`. Invariant: every failure names its cause and its remedy.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::buffers::Buffers;
use crate::core::Core;
use crate::pipe::Pipes;

/// Why the data ring cannot be used here.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel has no io_uring, or it is older than 6.1.
    TooOld {
        /// What is missing.
        missing: &'static str,
        /// The kernel's release, as `uname -r` gives it.
        release: String,
    },
    /// `kernel.io_uring_disabled` forbids it.
    DisabledBySysctl(String),
    /// A seccomp profile or security module forbids it.
    Forbidden(io::Error),
    /// A resource limit is too low.
    Limit(io::Error),
    /// Anything else.
    Other(io::Error),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::TooOld { missing, release } => {
                write!(
                    f,
                    "this kernel ({release}) lacks {missing}: Tidegate needs Linux 6.1 or newer with io_uring"
                )
            }
            ProbeError::DisabledBySysctl(value) => write!(
                f,
                "io_uring is switched off: kernel.io_uring_disabled is {value}; allow it with `sysctl kernel.io_uring_disabled=0` \
                 (1 allows it to the group in kernel.io_uring_group and to processes with CAP_SYS_ADMIN)"
            ),
            ProbeError::Forbidden(error) => write!(
                f,
                "io_uring is blocked ({error}): a container's seccomp profile or a security module forbids io_uring_setup, \
                 io_uring_enter and io_uring_register; allow these three system calls"
            ),
            ProbeError::Limit(error) => write!(
                f,
                "io_uring could not get its memory or descriptor ({error}): raise the limits on locked memory (ulimit -l, \
                 LimitMEMLOCK=) and on open files (ulimit -n, LimitNOFILE=)"
            ),
            ProbeError::Other(error) => write!(f, "io_uring could not be set up: {error}"),
        }
    }
}

impl std::error::Error for ProbeError {}

/// Makes a small ring with everything the data ring needs and lets it go again.
///
/// # Errors
/// The first thing that is missing, with its remedy.
pub fn probe() -> Result<(), ProbeError> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .build(8)
        .map_err(explain_setup)?;
    let mut supported = Probe::new();
    ring.submitter().register_probe(&mut supported).map_err(explain_setup)?;
    let needed = [
        (opcode::RecvMulti::CODE, "multishot receive"),
        (opcode::AcceptMulti::CODE, "multishot accept"),
        (opcode::SendMsg::CODE, "sendmsg"),
        (opcode::Connect::CODE, "connect"),
        (opcode::Close::CODE, "close"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::PollAdd::CODE, "poll"),
    ];
    for (code, missing) in needed {
        if !supported.is_supported(code) {
            return Err(ProbeError::TooOld { missing, release: release() });
        }
    }
    if !ring.params().is_feature_skip_cqe_on_success() {
        return Err(ProbeError::TooOld {
            missing: "completions on failure only",
            release: release(),
        });
    }
    let buffers = Buffers::new(8, 1).map_err(ProbeError::Limit)?;
    Core::new(ring, buffers, Pipes::new(0))
        .register()
        .map_err(|_| ProbeError::TooOld { missing: "provided-buffer rings", release: release() })
}

fn explain_setup(error: io::Error) -> ProbeError {
    explain(error, std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok().as_deref())
}

/// The cause behind an error of `io_uring_setup(2)`, given the content of the sysctl.
fn explain(error: io::Error, disabled: Option<&str>) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL) => {
            ProbeError::TooOld { missing: "io_uring with deferred task work", release: release() }
        }
        Some(libc::EPERM | libc::EACCES) => match disabled.map(str::trim) {
            Some(value) if value != "0" => ProbeError::DisabledBySysctl(value.to_owned()),
            _ => ProbeError::Forbidden(error),
        },
        Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE) => ProbeError::Limit(error),
        _ => ProbeError::Other(error),
    }
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes_the_probe() {
        probe().expect("the tests need io_uring");
    }

    #[test]
    fn each_refusal_names_its_cause_and_its_remedy() {
        let cases = [
            (libc::ENOSYS, None, "Linux 6.1 or newer"),
            (libc::EINVAL, None, "Linux 6.1 or newer"),
            (libc::EPERM, Some("2\n"), "sysctl kernel.io_uring_disabled=0"),
            (libc::EPERM, Some("0\n"), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::ENOMEM, None, "LimitMEMLOCK"),
            (libc::EMFILE, None, "LimitNOFILE"),
            (libc::EIO, None, "could not be set up"),
        ];
        for (errno, sysctl, expected) in cases {
            let text = explain(io::Error::from_raw_os_error(errno), sysctl).to_string();
            assert!(text.contains(expected), "errno {errno}: {text}");
        }
    }
}
