//! Whose rights the process has: those of who starts it until everything is open, then those of `global.user`.
//!
//! Owns the change and the proof that it holds for every thread and cannot be taken back; leaves finding accounts to the
//! configuration. Invariant: a start that asks for the change either has it or fails ([ADR 0021]).
//!
//! [ADR 0021]: ../../../../docs/adr/0021-privileges.md

use std::ffi::CString;
use std::fmt::Display;
use std::path::Path;

use nix::unistd::{
    Gid, Uid, getgroups, getresgid, getresuid, initgroups, setgroups, setresgid, setresuid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_no_new_privs,
};
use tidegate_config::{Global, User};

use crate::log::{Level, Line};

/// What the control executor's thread keeps: it alone opens sockets, and a reload may ask for a port below 1024.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Where the kernel tells of each thread; without it the proof rests on the system calls alone.
const THREADS: &str = "/proc/self/task";

/// Before any other thread exists: no program that is executed ever gains rights, whatever its file says.
pub(crate) fn gain_no_more(global: &Global) {
    if is_wanted(global) {
        // The kernel refuses it to nobody.
        let _ = set_no_new_privs(true);
    }
}

/// Whether the process is to be another's.
fn is_wanted(global: &Global) -> bool {
    global.user.is_some() || global.group.is_some()
}

/// Changes the whole process to the user and the group of `global`, if it names any. Called on the thread that opens sockets,
/// once all threads are there.
///
/// # Errors
/// It is not allowed, or can be taken back, or does not hold for a thread; then the process must end.
pub(crate) fn change(global: &Global) -> Result<(), String> {
    if !is_wanted(global) {
        return Ok(());
    }
    let target = Target::of(global)?;
    if !target.is_now()? {
        target.change().map_err(|(step, error)| target.refused(step, error))?;
        target.prove_threads(Path::new(THREADS))?;
    }
    target.prove_end()?;
    Line::new(Level::Info, "privileges")
        .with("user", target.name())
        .with("uid", target.uid)
        .with("gid", target.gid)
        .with("groups", format!("{:?}", target.groups()?))
        .with("capabilities", if kept().is_empty() { "none" } else { "net_bind_service" })
        .write();
    Ok(())
}

/// The capabilities that this thread has of those that may be kept.
fn kept() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted & KEPT)
}

/// Whom to become.
struct Target<'a> {
    user: Option<&'a User>,
    uid: Uid,
    gid: Gid,
}

impl<'a> Target<'a> {
    fn of(global: &'a Global) -> Result<Target<'a>, String> {
        let user = global.user.as_ref();
        let group = global.group.as_ref().map(|group| group.gid);
        let uid = user.map_or_else(Uid::current, |user| Uid::from_raw(user.uid));
        let primary = user.map_or(Some(Gid::current().as_raw()), |user| user.primary_group);
        let gid = group.or(primary).ok_or("global.user has no group: set global.group")?;
        Ok(Target { user, uid, gid: Gid::from_raw(gid) })
    }

    fn name(&self) -> String {
        self.user.map_or_else(|| self.uid.to_string(), ToString::to_string)
    }

    /// Whether nothing is to be changed, as under a supervisor that has done it.
    fn is_now(&self) -> Result<bool, String> {
        let (users, groups) = ids()?;
        Ok(users == [self.uid; 3] && groups == [self.gid; 3] && !self.uid.is_root())
    }

    fn groups(&self) -> Result<Vec<u32>, String> {
        let groups = getgroups().map_err(|error| format!("getgroups: {error}"))?;
        Ok(groups.into_iter().map(Gid::as_raw).collect())
    }

    /// The order matters: groups can be changed only as long as the user may, and the user's change takes what is not kept.
    fn change(&self) -> Result<(), (&'static str, String)> {
        let at = |step: &'static str| move |error: nix::Error| (step, error.to_string());
        let keeps = !self.uid.is_root();
        let had = kept();
        if keeps {
            keep_capabilities(true)?;
        }
        match self.user.and_then(|user| user.name.as_deref()) {
            Some(name) => {
                let name = CString::new(name).map_err(|error| ("initgroups", error.to_string()))?;
                initgroups(&name, self.gid).map_err(at("initgroups"))?;
            }
            None => setgroups(&[]).map_err(at("setgroups"))?,
        }
        setresgid(self.gid, self.gid, self.gid).map_err(at("setresgid"))?;
        setresuid(self.uid, self.uid, self.uid).map_err(at("setresuid"))?;
        if keeps {
            let sets = CapabilitySets {
                effective: had,
                permitted: had,
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, sets).map_err(|error| ("capset", error.to_string()))?;
            keep_capabilities(false)?;
        }
        Ok(())
    }

    /// What to tell of a step that failed.
    fn refused(&self, step: &str, error: impl Display) -> String {
        let name = self.name();
        if Uid::effective().is_root() {
            return format!("cannot become user {name}: {step}: {error}");
        }
        format!(
            "cannot become user {name}: {step}: {error} (only root can: start as root, or leave global.user and global.group out)"
        )
    }

    /// That the process is who it is to be, and that there is no way back.
    fn prove_end(&self) -> Result<(), String> {
        let (users, groups) = ids()?;
        if users != [self.uid; 3] || groups != [self.gid; 3] {
            return Err(format!("user {} has not taken effect: {users:?} {groups:?}", self.name()));
        }
        let root = Uid::from_raw(0);
        if !self.uid.is_root() && setresuid(root, root, root).is_ok() {
            return Err(format!("user {} could become root again (CAP_SETUID)", self.name()));
        }
        Ok(())
    }

    /// That every thread has the identity and no capability but what may be kept.
    fn prove_threads(&self, threads: &Path) -> Result<(), String> {
        if self.uid.is_root() {
            return Ok(());
        }
        let Ok(listed) = std::fs::read_dir(threads) else { return Ok(()) };
        for thread in listed.flatten() {
            // A thread that has ended meanwhile has no rights.
            let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else {
                continue;
            };
            if let Some(wrong) = self.objection(&status) {
                let thread = thread.file_name();
                return Err(format!("thread {} still has {wrong}", thread.display()));
            }
        }
        Ok(())
    }

    /// The line of a thread's status (proc(5)) that says that it has more than it may.
    fn objection<'s>(&self, status: &'s str) -> Option<&'s str> {
        // The kernel's own workers of a ring do each thing with the rights of who asked for it, and end when they are idle.
        if status.starts_with("Name:\tiou-") {
            return None;
        }
        let may = |line: &str| {
            let Some((key, value)) = line.split_once(':') else { return true };
            let all = |id: u32| value.split_whitespace().all(|word| word.parse() == Ok(id));
            match key {
                "Uid" => all(self.uid.as_raw()),
                "Gid" => all(self.gid.as_raw()),
                "CapPrm" | "CapEff" | "CapInh" | "CapAmb" => {
                    u64::from_str_radix(value.trim(), 16).is_ok_and(|set| set & !KEPT.bits() == 0)
                }
                _ => true,
            }
        };
        status.lines().find(|line| !may(line))
    }
}

/// Whether the next change of the user leaves this thread its capabilities.
fn keep_capabilities(kept: bool) -> Result<(), (&'static str, String)> {
    set_keep_capabilities(kept).map_err(|error| ("prctl(PR_SET_KEEPCAPS)", error.to_string()))
}

/// The real, effective and saved user and group.
fn ids() -> Result<([Uid; 3], [Gid; 3]), String> {
    let users = getresuid().map_err(|error| format!("getresuid: {error}"))?;
    let groups = getresgid().map_err(|error| format!("getresgid: {error}"))?;
    Ok(([users.real, users.effective, users.saved], [groups.real, groups.effective, groups.saved]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\ttidegate\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t \n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\n\
        CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n";

    fn target() -> Target<'static> {
        Target { user: None, uid: Uid::from_raw(7), gid: Gid::from_raw(8) }
    }

    #[test]
    fn a_thread_that_is_the_user_and_may_bind_low_ports_passes() {
        assert_eq!(target().objection(STATUS), None);
    }

    #[test]
    fn a_thread_with_another_identity_or_another_capability_is_found() {
        for (line, instead) in [
            ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7"),
            ("Uid:\t7\t7\t7\t7", "Uid:\t0\t0\t0\t0"),
            ("Gid:\t8\t8\t8\t8", "Gid:\t8\t0\t8\t8"),
            ("CapPrm:\t0000000000000400", "CapPrm:\t0000000000000480"),
            ("CapEff:\t0000000000000400", "CapEff:\t000001ffffffffff"),
            ("CapInh:\t0000000000000000", "CapInh:\t0000000000000080"),
            ("CapAmb:\t0000000000000000", "CapAmb:\t?"),
        ] {
            let status = STATUS.replace(line, instead);
            assert_eq!(target().objection(&status), Some(instead));
            let of_kernel = status.replace("Name:\t", "Name:\tiou-wrk-");
            assert_eq!(target().objection(&of_kernel), None);
        }
    }
}
