//! The whole contract, and all walls, in containers: many cases over one engine, which takes longer to start than a case.

use std::sync::Arc;

use futures::StreamExt as _;
use legwork_sandbox::conformance::CASES;
use legwork_sandbox::conformance::walls::WALLS;

use crate::world::World;

/// At a time: as many as there are processors in the smallest machine that runs this.
const PARALLEL: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_containers() {
    let Some(world) = World::new() else { return };
    let tried = futures::stream::iter(CASES).map(|case| {
        let backend = Arc::clone(&world.backend);
        async move { (case.run)(backend).await.err().map(|why| format!("{}: {why}", case.name)) }
    });
    let broken: Vec<_> = tried.buffer_unordered(PARALLEL).filter_map(std::future::ready).collect().await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

async fn holds(wall: &str) {
    let Some(world) = World::new() else { return };
    let wall = WALLS.iter().find(|known| known.name == wall).unwrap();
    let tried = futures::stream::iter((wall.probes)()).map(|probe| {
        let backend = &world.backend;
        async move { probe.holds(backend).await.err().map(|why| format!("{}: {why}", probe.name)) }
    });
    let through: Vec<_> = tried.buffer_unordered(PARALLEL).filter_map(std::future::ready).collect().await;
    assert!(through.is_empty(), "{}", through.join("\n"));
}

macro_rules! walls {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                holds(stringify!($name)).await;
            }
        )+
    };
}

walls! { calls, devices, files, guest, kernel, network, processes, resources, rights }

#[test]
fn every_wall_is_tried() {
    assert_eq!(NAMES, WALLS.iter().map(|wall| wall.name).collect::<Vec<_>>());
}
