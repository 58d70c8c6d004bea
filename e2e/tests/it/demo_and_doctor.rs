use crate::world::World;

#[test]
fn the_demo_needs_no_key_and_no_network() {
    let world = World::new();
    let outcome = world.legwork_says(&["demo"]);
    outcome.exits(0);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("fixed"), "{said}");
    assert!(said.contains("scripted"), "it says that the model was scripted\n{said}");
}

#[test]
fn the_doctor_names_the_layers_of_isolation() {
    let world = World::new();
    let outcome = world.legwork_says(&["doctor"]);
    let said = outcome.stdout.to_lowercase();
    for layer in ["privileges", "namespaces", "overlay", "seccomp", "landlock", "memory limit", "model"] {
        assert!(said.contains(layer), "{layer}\n{}\n{}", outcome.stdout, outcome.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_told_apart() {
    let world = World::new();
    world.legwork_says(&["run", "--no-such-flag", "x"]).exits(2);
    world.legwork_says(&["run", "--model", "without-slash", "x"]).exits(2);
}
