use std::net::TcpListener;

use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

/// Tools take what the model sends; none of it lands outside of the sandbox.
#[test]
fn paths_that_lead_out_write_nothing_on_the_host() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let victim = world.path("victim.txt");
    std::fs::write(&victim, "untouched").unwrap();
    let out = victim.to_str().unwrap();
    let add = |path: &str| format!("*** Begin Patch\n*** Add File: {path}\n+pwned\n*** End Patch\n");
    let script = Script::new()
        .exec(&format!("ln -s {out} link; ln -s {} dir; mkdir -p sub", world.path("").display()))
        .patch(&add(out))
        .patch(&add("../../../../../../tmp/legwork-pwned"))
        .patch(&add("dir/victim.txt"))
        .patch("*** Begin Patch\n*** Update File: link\n@@\n-untouched\n+pwned\n*** End Patch\n")
        .exec(&format!(
            "echo pwned > {out}; echo pwned > /etc/legwork-pwned; echo pwned > /usr/legwork-pwned"
        ))
        .says("Done.");

    let outcome = world.run(&repo, &script, &["Go where you should not"]);

    assert!(outcome.code.is_some(), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    for path in ["/tmp/legwork-pwned", "/etc/legwork-pwned", "/usr/legwork-pwned"] {
        assert!(!std::path::Path::new(path).exists(), "{path}");
    }
}

#[test]
fn the_hosts_loopback_is_out_of_reach() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let knock = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached");
    let script = Script::new().exec(&format!("bash -c '{knock}'; echo tried")).says("Done.");

    let outcome = world.run(&repo, &script, &["Knock"]);

    outcome.exits(0);
    let output = outcome.items("command")[0]["output"].as_str().unwrap();
    assert!(output.contains("tried") && !output.contains("reached"), "{output}");
    assert!(listener.accept().is_err(), "nobody came");
}

#[test]
fn what_a_command_prints_does_not_rule_the_terminal() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .exec("printf '\\033]0;owned\\007\\033[2J\\033]52;c;cHduZWQ=\\007plain\\n'")
        .says("\u{1b}[2J\u{1b}]0;owned\u{7}Done.");

    let mut command = world.legwork();
    command.args(["run", "--repo"]).arg(repo.path()).args(world.model(&script)).arg("Print");
    let output = command.output().unwrap();

    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("Done."), "{said}");
    for escape in ["\u{1b}]", "\u{1b}[2J", "\u{7}"] {
        assert!(!said.contains(escape), "{escape:?} in {said:?}");
    }
}

#[test]
fn floods_and_endless_commands_end() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .exec("head -c 50000000 /dev/zero | tr '\\0' 'x'")
        .exec("(sleep 1000 &) ; echo left")
        .calls("exec_command", &json!({"cmd": "sleep 1000", "yield_time_ms": 250}))
        .says("Done.");

    let outcome = world.run(&repo, &script, &["Flood"]);

    outcome.exits(0);
    assert!(outcome.stdout.len() < 8_000_000, "{} bytes of events", outcome.stdout.len());
    let flood = outcome.items("command")[0];
    assert_eq!(flood["output_bytes"], 50_000_000);
}
