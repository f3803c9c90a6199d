//! Random workflows on a simulated runner and clock: whatever the order of events, however little an iteration may do,
//! and wherever the server dies between two commits, an invocation comes to the same end.
//!
//! Everything is the server's own but the two loops: this test decides which of the things that could happen next does.
//! A failure names its seed; `BARYCENTER_SIMULATION_SEED=N` runs that one alone, `BARYCENTER_SIMULATION_CASES` that many.

#[path = "simulation/generate.rs"]
mod generate;
#[path = "../src/store/testing/given.rs"]
mod given;
#[path = "simulation/going_on.rs"]
mod going_on;
#[path = "simulation/many.rs"]
mod many;
#[path = "simulation/world.rs"]
mod world;

use generate::Rng;
use many::Many;
use world::{Chance, World};

/// How often a workflow is run in random order, after once in order.
const ORDERS: u64 = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds that the environment asks for, or so many.
fn seeds(usual: u64) -> Vec<u64> {
    match number("BARYCENTER_SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("BARYCENTER_SIMULATION_CASES").unwrap_or(usual)).collect(),
    }
}

fn on_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work);
}

/// What a failed invocation had done by then depends on the order, that it fails does not.
fn is_same(expected: &str, found: &str) -> bool {
    match expected.starts_with("failed") {
        true => found.starts_with("failed"),
        false => found == expected,
    }
}

#[test]
fn several_servers_come_to_the_same_end_whoever_sleeps_dies_and_wakes() {
    on_runtime(async {
        let (mut refused, mut taken) = (0, 0);
        for seed in seeds(60) {
            let workflow = generate::workflow(&mut Rng::new(seed), 2);
            let expected = run(&workflow, seed, Chance::in_order()).await;
            let mut many = Many::new(seed).await;
            let found = many.run(&workflow).await;
            assert!(
                is_same(&expected, &found),
                "BARYCENTER_SIMULATION_SEED={seed}: alone\n{expected}\nbut with several\n{found}\nof {}",
                serde_json::to_string_pretty(&workflow).expect("JSON")
            );
            refused += many.refused;
            taken += many.taken;
        }
        eprintln!(
            "{taken} invocations were taken over; {refused} times a server was refused that had been given up"
        );
        if number("BARYCENTER_SIMULATION_SEED").is_none() {
            assert!(refused >= 5 && taken >= 10, "{refused} {taken}");
        }
    });
}

#[test]
fn an_invocation_comes_to_the_same_end_in_whatever_order_and_wherever_the_server_died() {
    on_runtime(async {
        let (mut completed, mut failed, mut asleep) = (0, 0, 0);
        for seed in seeds(25) {
            let workflow = generate::workflow(&mut Rng::new(seed), 2);
            let expected = run(&workflow, seed, Chance::in_order()).await;
            match expected.lines().next() {
                Some("completed") => completed += 1,
                Some("failed") => failed += 1,
                _ => asleep += 1,
            }
            for order in 1..=ORDERS {
                let chance = Chance::random(seed.wrapping_mul(1000) + order);
                let found = run(&workflow, seed, chance).await;
                assert!(
                    is_same(&expected, &found),
                    "BARYCENTER_SIMULATION_SEED={seed}, order {order}: in order\n{expected}\nbut now\n{found}\nof {}",
                    serde_json::to_string_pretty(&workflow).expect("JSON")
                );
            }
        }
        eprintln!(
            "{completed} workflows completed, {failed} failed and {asleep} wait for a paused job, each in {ORDERS} more orders"
        );
    });
}

async fn run(workflow: &serde_json::Value, seed: u64, chance: Chance) -> String {
    let mut world = World::new(seed, chance).await;
    let invocation = world.invoke(workflow).await;
    world.run_to_the_end(invocation).await;
    world.describe(invocation).await
}
