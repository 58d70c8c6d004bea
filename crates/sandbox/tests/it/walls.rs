//! The walls, each with all its probes; a failure names every probe that got through.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use legwork_sandbox::conformance::walls::WALLS;

use crate::world::World;

/// Probes at a time: two processors' worth, and memory for the floods.
const PARALLEL: usize = 4;

async fn holds(wall: &str) {
    let world = World::new();
    let wall = WALLS.iter().find(|known| known.name == wall).unwrap();
    let tried = futures::stream::iter((wall.probes)()).map(|probe| {
        let backend = &world.backend;
        async move { probe.holds(backend).await.err().map(|why| format!("{}: {why}", probe.name)) }
    });
    let through: Vec<_> = tried.buffer_unordered(PARALLEL).filter_map(std::future::ready).collect().await;
    assert!(through.is_empty(), "{}", through.join("\n"));
    world.assert_clean();
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
fn every_wall_is_tried_and_every_probe_has_a_name_of_its_own() {
    assert_eq!(NAMES, WALLS.iter().map(|wall| wall.name).collect::<Vec<_>>());
    let names: Vec<_> = WALLS.iter().flat_map(|wall| (wall.probes)()).map(|probe| probe.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(names.len() >= 200, "{}", names.len());
}
