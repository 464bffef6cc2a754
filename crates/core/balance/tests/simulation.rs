//! Several shards with a replica each, servers that come and go, requests that land on any shard:
//! together the replicas keep the shares. Seeded; a failure names its seed.

mod common;

use common::{Random, pick, set_availability};
use tidegate_balance::{
    Availability, Backups, NoServer, Plan, Policy, Pool, ServerId, ServerSettings, Settings,
    ShardId, Weight,
};

const REQUESTS: usize = 10_000;

struct Machine {
    shards: Vec<Pool>,
    settings: Vec<ServerSettings>,
    availability: Vec<Availability>,
}

impl Machine {
    fn new(random: &mut Random) -> Self {
        let settings: Vec<ServerSettings> = (0..1 + random.below(10))
            .map(|_| ServerSettings {
                weight: Weight::new([1, 1, 2, 3][random.below(4)]).expect("in range"),
                backup: random.below(4) == 0,
                identity: 0,
            })
            .collect();
        let shards_count = [1_u16, 2, 4, 8][random.below(4)];
        let all = Settings { backups: Backups::All, ..Policy::RoundRobin.into() };
        let plan = Plan::new(all, &settings);
        let shards =
            (0..shards_count).map(|shard| Pool::new(&plan, ShardId(shard), shards_count)).collect();
        let availability = vec![Availability::Up; settings.len()];
        Self { shards, settings, availability }
    }

    /// The share of each server by the definition of usable, which the pools do not see.
    fn shares(&self) -> Vec<f64> {
        let weight_of = |backup: bool| -> Vec<f64> {
            self.settings
                .iter()
                .zip(&self.availability)
                .map(|(server, &availability)| {
                    let usable = availability == Availability::Up && server.backup == backup;
                    if usable { f64::from(server.weight.value()) } else { 0.0 }
                })
                .collect()
        };
        let primaries = weight_of(false);
        let weights = if primaries.iter().sum::<f64>() > 0.0 { primaries } else { weight_of(true) };
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| if sum > 0.0 { weight / sum } else { 0.0 }).collect()
    }

    /// One server changes, and each shard hears of it after a few more requests of its own, as it does
    /// over its queue.
    fn change_a_server(&mut self, random: &mut Random) {
        let server = random.below(self.settings.len());
        let to = [Availability::Up, Availability::Up, Availability::Down, Availability::Draining]
            [random.below(4)];
        self.availability[server] = to;
        let id = ServerId(u32::try_from(server).expect("few servers"));
        for shard in &mut self.shards {
            for _ in 0..random.below(5) {
                let _in_flight = pick(shard);
            }
            set_availability(shard, id, to);
        }
    }

    fn serve(&mut self, random: &mut Random) -> Result<Vec<usize>, NoServer> {
        let mut served = vec![0; self.settings.len()];
        for _ in 0..REQUESTS {
            let shard = random.below(self.shards.len());
            let server = pick(&mut self.shards[shard])?;
            served[usize::try_from(server.0).expect("an index")] += 1;
        }
        Ok(served)
    }
}

#[test]
fn shards_together_keep_the_shares_while_servers_come_and_go() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut machine = Machine::new(&mut random);
        for step in 0..10 {
            let shares = machine.shares();
            let usable = shares.iter().filter(|&&share| share > 0.0).count();
            assert!(machine.shards.iter().all(|shard| shard.usable_count() == usable));
            match machine.serve(&mut random) {
                Err(cause) => {
                    assert_eq!((usable, cause), (0, NoServer::AllDown), "seed {seed} step {step}");
                }
                Ok(served) => {
                    for (server, (&count, share)) in served.iter().zip(&shares).enumerate() {
                        let expected = share * REQUESTS as f64;
                        let off = (count as f64 - expected).abs();
                        assert!(
                            off <= expected * 0.01,
                            "seed {seed} step {step}: server {server} had {count}, not {expected}"
                        );
                    }
                }
            }
            for _ in 0..=random.below(3) {
                machine.change_a_server(&mut random);
            }
        }
    }
}
