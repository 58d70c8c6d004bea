//! Layers that are made into one.

use std::sync::Arc;

use super::Outcome;
use super::world::{create, ensure, on_layer, same, say, spec};
use crate::{Backend, Error, Layer, Spec};

/// All that can be told of files (without the names of nothing that an overlay of many layers may list): path, type, rights, target, size, time of change and content; and which are one.
const TELL: &str = r#"
cd /; for top in workspace home; do
find $top -printf '%p %y %m %l %T@ ' \( -type f -printf '%s ' -exec cksum {} \; -o -printf '\n' \) 2>/dev/null
done | sort
cd /workspace; for one in *; do for other in *; do [ -f $one -a $one -ef $other ] && echo $one is $other; done; done; true"#;

/// What each layer does above the one before.
const CHANGES: [&str; 6] = [
    "echo a > a; ln a b; echo k > kept; mkdir -p d/e gone closed; echo f > d/e/f; echo g > gone/g; echo c > closed/c; chmod 0 closed; ln -s d/e link; echo h > $HOME/h",
    "echo more >> d/e/f; chmod 751 d; rm kept; rm -r below; mkdir below; echo new > below/new; mkfifo pipe",
    "rm -r d; echo file > d; chmod 4755 a; touch -d 2001-02-03 gone; chmod 700 closed; echo 2 > closed/2; chmod 0 closed",
    "rm d; mkdir d; echo new > d/new; rm -r gone; rm deep/er/old; mv below/new below/moved; rm link; ln -s nowhere link",
    "ln a third; mkdir gone; rm -r gone; mkdir -p d/e; chmod 1777 d/e; touch d/new; echo 3 > deep/er/3; rm $HOME/h",
    "echo again > kept; rm d/new; chmod 500 d; echo last > 'a b'; rm file",
];

async fn above(
    backend: &Arc<dyn Backend>,
    name: &str,
    layers: &[Layer],
    script: &str,
) -> Result<Layer, Box<dyn std::error::Error + Send + Sync>> {
    let sandbox = backend.create(Spec { layers: layers.to_vec(), ..spec(name) }).await?;
    say(&sandbox, script).await?;
    Ok(sandbox.snapshot().await?)
}

async fn told(
    backend: &Arc<dyn Backend>,
    name: &str,
    layers: &[Layer],
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let sandbox = backend.create(Spec { layers: layers.to_vec(), ..spec(name) }).await?;
    let told = say(&sandbox, TELL).await?;
    sandbox.destroy().await?;
    Ok(told)
}

pub(super) async fn merged_layers_show_what_they_showed(backend: Arc<dyn Backend>) -> Outcome {
    let below = "mkdir -p below deep/er; echo old > below/old; echo old > deep/er/old; echo file > file";
    let mut layers = vec![above(&backend, "merged_0", &[], below).await?];
    for (at, script) in CHANGES.iter().enumerate() {
        let name = format!("merged_{}", at + 1);
        let layer = above(&backend, &name, &layers, script).await?;
        layers.push(layer);
    }
    let before = told(&backend, "merged_before", &layers).await?;
    let (below, above_it) = layers.split_at(1);
    let merged = [below, &[backend.merge(above_it).await?]].concat();
    same(told(&backend, "merged_after", &merged).await?, before.clone())?;
    same(told(&backend, "merged_still", &layers).await?, before.clone())?;
    // What was merged is a layer like any other: it can be merged again, with the lowest too, and what it stood for can go.
    for layer in above_it {
        backend.discard(layer.clone()).await?;
    }
    same(told(&backend, "merged_alone", &merged).await?, before.clone())?;
    let whole = backend.merge(&merged).await?;
    same(told(&backend, "merged_whole", std::slice::from_ref(&whole)).await?, before)?;
    let sandbox = backend.create(on_layer("merged_on", &whole)).await?;
    same(
        say(&sandbox, "chmod 700 closed; cat closed/*; rm -r below; ls below 2>&1 || true").await?,
        "2\nc\nls: cannot access 'below': No such file or directory".to_owned(),
    )
}

/// A script of changes, each different by its number, on few names, so that they meet.
fn any_changes(seed: &mut u64) -> String {
    let mut next = |below: usize| {
        // Knuth's MMIX; its high bits are the random ones.
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).unwrap_or(0) % below
    };
    const PATHS: [&str; 12] =
        ["a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/a/b", "a/b/a", "b/a/a", "b/a/b", "b/b/b"];
    let mut script = String::new();
    for _ in 0..10 {
        let (path, other, number) = (PATHS[next(12)], PATHS[next(12)], next(1000));
        script.push_str(&match next(8) {
            0 | 1 => format!("mkdir -p {path}; "),
            2 => format!("echo {number} > {path}; "),
            3 => format!("rm -rf {path}; mkdir -p {path}; echo {number} > {path}/b; "),
            4 => format!("rm -rf {path}; "),
            5 => format!("mv -T {path} {other}; "),
            6 => format!("ln -sfn {number} {path}; ln -T {path} {other}; "),
            _ => format!("chmod {} {path}; ", [700, 755, 750, 644][number % 4]),
        });
    }
    format!("exec 2>&-; {script} true")
}

pub(super) async fn whatever_was_changed_merging_loses_nothing(backend: Arc<dyn Backend>) -> Outcome {
    for start in 0..6 {
        let mut seed = start;
        let mut layers = Vec::new();
        for at in 0..8 {
            let name = format!("any_{start}_{at}");
            let layer = above(&backend, &name, &layers, &any_changes(&mut seed)).await?;
            layers.push(layer);
        }
        let before = told(&backend, &format!("any_{start}_before"), &layers).await?;
        for below in [0, 3] {
            let (lower, upper) = layers.split_at(below);
            let merged = [lower, &[backend.merge(upper).await?]].concat();
            let after = told(&backend, &format!("any_{start}_{below}"), &merged).await?;
            ensure(after == before, || format!("seed {start}, above {below}:\n{before}\n\n{after}"))?;
        }
    }
    Ok(())
}

pub(super) async fn what_cannot_be_merged_is_refused_and_leaves_nothing(
    backend: Arc<dyn Backend>,
) -> Outcome {
    let dig = "i=0; while [ $i -lt 60 ]; do n=$(printf '%0100d' $i); mkdir $n; cd -P $n || exit 1; i=$((i+1)); done";
    let deep = above(&backend, "deep_dug", &[], dig).await?;
    let refused = backend.merge(&[deep.clone(), deep.clone()]).await.err();
    ensure(matches!(refused, Some(Error::Setup { .. })), || format!("{refused:?}"))?;
    create(&backend, "deep_dug_after").await?.destroy().await?;
    let foreign = backend.merge(&[deep, Layer { path: "/etc".into() }]).await.err();
    ensure(matches!(foreign, Some(Error::Invalid(_))), || format!("{foreign:?}"))
}
