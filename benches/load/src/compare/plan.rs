//! What a comparison is to measure: proxies, scenarios, rounds, rates, cores. Owns defaults and
//! their arithmetic. Invariant: a plan is complete and consistent before the first proxy starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::args::{Args, UsageError};
use crate::generator::Window;
use crate::peers::Proxy;
use crate::scenario::{self, IDLE, SHARDS, Scenario, Setup, TRAFFIC};

/// Starting, connecting and stopping a proxy takes about this long on top of its window.
const STEP_OVERHEAD: Duration = Duration::from_millis(400);
/// Rate of the shard comparison when no saturation was measured in the same comparison.
pub const SHARDS_RATE: u64 = 20_000;

/// Everything a comparison needs to know.
#[derive(Debug)]
pub struct Plan {
    pub proxies: Vec<Proxy>,
    pub traffic: Vec<Scenario>,
    pub idle: bool,
    pub idle_connections: usize,
    pub idle_watch: Duration,
    pub shards: Option<usize>,
    pub rounds: usize,
    pub levels: Vec<u64>,
    pub window: Window,
    pub proxy_cpu: usize,
    pub harness_cpu: usize,
    pub out: PathBuf,
}

impl Plan {
    /// Reads the command line; `--quick` changes defaults only.
    pub fn from_args(mut args: Args) -> Result<Self, UsageError> {
        let quick = args.switch("quick");
        let default = |usual: Duration, short: u64| {
            if quick { Duration::from_millis(short) } else { usual }
        };
        let names = args.list::<String>("scenarios")?;
        let wanted = |name: &str| match &names {
            Some(names) => names.iter().any(|wanted| wanted == name),
            None => !quick || ["keepalive-64", "per-request", IDLE].contains(&name),
        };
        let traffic = TRAFFIC.into_iter().filter(|one| wanted(one.name)).collect();
        let (idle, shards) = (wanted(IDLE), wanted(SHARDS));
        for name in names.iter().flatten() {
            if name != IDLE && name != SHARDS && scenario::by_name(name).is_none() {
                return Err(UsageError(format!("no scenario {name:?}")));
            }
        }
        let window = Window {
            warmup: args.duration("warmup", default(Duration::from_secs(1), 300))?,
            duration: args.duration("duration", default(Duration::from_secs(5), 1_000))?,
        };
        let plan = Self {
            proxies: proxies(&mut args)?,
            traffic,
            idle,
            idle_connections: args.value("idle-connections")?.unwrap_or(if quick {
                200
            } else {
                6_000
            }),
            idle_watch: default(Duration::from_secs(5), 500),
            shards: args.value("shards")?.or(Some(2)).filter(|&count| shards && count > 1),
            rounds: args.value("rounds")?.unwrap_or(if quick { 1 } else { 5 }),
            levels: args.list("levels")?.unwrap_or(if quick {
                vec![50]
            } else {
                vec![25, 50, 75, 90]
            }),
            window,
            proxy_cpu: args.value("proxy-cpu")?.unwrap_or(0),
            harness_cpu: args.value("harness-cpu")?.unwrap_or(1),
            out: args.text("out")?.unwrap_or_else(|| "docs/performance".into()).into(),
        };
        args.finish()?;
        Ok(plan)
    }

    /// The proxies that take part in a round of a scenario, rotated by the round.
    pub fn order(&self, round: usize, scenario: &Scenario) -> Vec<Proxy> {
        let fits = |proxy: &&Proxy| match proxy {
            Proxy::Tidegate(_) | Proxy::Haproxy => true,
            Proxy::Nginx => scenario.setup != Setup::Rules,
            Proxy::Spike(_) => scenario.suits_spikes,
        };
        rotated(self.proxies.iter().filter(fits), round)
    }

    /// The same for idle connections.
    pub fn idle_order(&self, round: usize) -> Vec<Proxy> {
        let fits = |proxy: &&Proxy| !matches!(proxy, Proxy::Spike(_));
        rotated(self.proxies.iter().filter(fits), round)
    }

    /// Tidegate, if it takes part.
    pub fn tidegate(&self) -> Option<Proxy> {
        self.proxies.iter().find(|proxy| matches!(proxy, Proxy::Tidegate(_))).cloned()
    }

    /// Expected length of a step with traffic.
    pub fn step_expected(&self) -> Duration {
        self.window.warmup + self.window.duration + STEP_OVERHEAD
    }

    /// Expected length of a step with idle connections.
    pub fn idle_expected(&self) -> Duration {
        self.idle_watch * 2 + STEP_OVERHEAD
    }

    /// Expected length of everything.
    pub fn expected(&self) -> Duration {
        let rounds = u32::try_from(self.rounds).unwrap_or(u32::MAX);
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let runs_per_cell = 1 + count(self.levels.len());
        let cells: u32 = self.traffic.iter().map(|one| count(self.order(0, one).len())).sum();
        let mut expected = self.step_expected() * (rounds * cells * runs_per_cell);
        if self.idle {
            expected += self.idle_expected() * (rounds * count(self.idle_order(0).len()));
        }
        if self.shards.is_some() && self.tidegate().is_some() {
            expected += self.step_expected() * (rounds * 2);
        }
        expected
    }

    /// What the figures depend on besides the programs.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.to_owned()))
            .unwrap_or_default();
        // Not `available_parallelism`: this process is pinned.
        let cores =
            read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
        let mut environment = BTreeMap::from([
            ("kernel".to_owned(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("processor".to_owned(), format!("{}, {cores} cores", processor.trim())),
            ("load".to_owned(), read("/proc/loadavg").trim().to_owned()),
            ("cores".to_owned(), format!("proxy {}, harness {}", self.proxy_cpu, self.harness_cpu)),
            ("rounds".to_owned(), self.rounds.to_string()),
            ("window".to_owned(), format!("{:?}", self.window.duration)),
            ("warm-up".to_owned(), format!("{:?}", self.window.warmup)),
        ]);
        for proxy in &self.proxies {
            if let Some(version) = version(proxy) {
                environment.insert(proxy.name(), version);
            }
        }
        environment
    }
}

fn proxies(args: &mut Args) -> Result<Vec<Proxy>, UsageError> {
    let mut proxies: Vec<Proxy> =
        args.text("tidegate")?.map(|path| Proxy::Tidegate(path.into())).into_iter().collect();
    let peers = args.list::<String>("proxies")?;
    for peer in peers.unwrap_or_else(|| vec!["haproxy".into(), "nginx".into()]) {
        proxies.push(match peer.as_str() {
            "haproxy" => Proxy::Haproxy,
            "nginx" => Proxy::Nginx,
            other => return Err(UsageError(format!("no proxy {other:?}"))),
        });
    }
    proxies.extend(args.all("spike")?.into_iter().map(|path| Proxy::Spike(path.into())));
    Ok(proxies)
}

fn rotated<'a>(proxies: impl Iterator<Item = &'a Proxy>, round: usize) -> Vec<Proxy> {
    let mut order: Vec<Proxy> = proxies.cloned().collect();
    let count = order.len().max(1);
    order.rotate_left(round % count);
    order
}

/// The first line a program says about its version; nginx says it on standard error.
fn version(proxy: &Proxy) -> Option<String> {
    let output = match proxy {
        Proxy::Tidegate(path) => Command::new(path).arg("--version").output(),
        Proxy::Haproxy => Command::new("haproxy").arg("-v").output(),
        Proxy::Nginx => Command::new("nginx").arg("-v").output(),
        Proxy::Spike(_) => return None,
    };
    let output = output.ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Some(String::from_utf8_lossy(&text).lines().next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn plan(line: &str) -> Result<Plan, UsageError> {
        Plan::from_args(Args::new(line.split_whitespace().map(OsString::from)))
    }

    #[test]
    fn defaults_measure_everything() {
        let plan = plan("--tidegate /t").expect("valid");
        assert_eq!(plan.traffic.len(), TRAFFIC.len());
        assert!(plan.idle && plan.shards == Some(2) && plan.rounds == 5);
        assert_eq!(plan.levels, [25, 50, 75, 90]);
        // 7 scenarios (one without nginx) × 3 proxies × 5 rounds × 5 loads of 6.4 s, idle and shards besides.
        assert!(plan.expected() > Duration::from_secs(6 * 3 * 5 * 5 * 6));
    }

    #[test]
    fn order_rotates_so_that_each_proxy_is_first_equally_often() {
        let plan = plan("--tidegate /t --spike /s").expect("valid");
        let scenario = scenario::KEEPALIVE_64;
        let firsts: Vec<String> =
            (1..=4).map(|round| plan.order(round, &scenario)[0].name()).collect();
        let mut sorted = firsts.clone();
        sorted.sort();
        assert_eq!(sorted, ["haproxy", "nginx", "s", "tidegate"], "{firsts:?}");
        let bodies = scenario::by_name("body-1m").expect("it exists");
        assert_eq!(plan.order(1, &bodies).len(), 3, "baselines stay out");
        let rules = scenario::by_name("rules").expect("it exists");
        assert_eq!(plan.order(1, &rules).len(), 2, "nginx stays out");
    }

    #[test]
    fn mistakes_are_refused() {
        for line in ["--scenarios nope", "--proxies apache", "--rounds x", "--unknown"] {
            assert!(plan(line).is_err(), "{line}");
        }
        let quick = plan("--quick").expect("valid");
        assert!(quick.expected() < Duration::from_secs(60));
        assert!(quick.shards.is_none());
    }
}
