//! Images from a registry.

use legwork_image::{Credentials, Error, Image, Origin, Registry as Access, Store};

use crate::archives::{DIRECTORY, FILE, World, archive};
use crate::registry::{Registry, Ways, digest, gzip};

/// A store that knows this registry as `registry.test`.
fn store(world: &World, registry: &Registry, credentials: Option<Credentials>) -> Store {
    let mut settings = world.settings();
    settings.registries = vec!["registry.test".to_owned()];
    let access = Access { credentials, ..Access::private(registry.url.clone()) };
    settings.access.insert("registry.test".to_owned(), access);
    Store::open(settings).unwrap()
}

fn layers() -> Vec<Vec<u8>> {
    vec![
        archive(&[("bin/", DIRECTORY, ""), ("bin/sh", FILE, "shell"), ("etc/a", FILE, "a")]),
        archive(&[("etc/.wh.a", FILE, ""), ("etc/b", FILE, "b")]),
    ]
}

async fn refused(store: &Store, name: &str) -> Error {
    store.get(name).await.expect_err(name)
}

#[tokio::test]
async fn an_image_is_pulled_once_and_its_layers_are_shared() {
    let (world, registry) = (World::new(), Registry::start(Ways { token: true, ..Ways::default() }).await);
    let manifest = registry.image("1", &layers());
    let store = store(&world, &registry, None);
    let image = store.get("registry.test/me/thing:1").await.unwrap();
    assert_eq!(image.digest, manifest, "the platform's own manifest names it");
    assert!(matches!(image.origin, Origin::Unpacked { layers: 2, fetched_bytes: 1.. }));
    assert_eq!(image.env[0], ("PATH".to_owned(), "/opt/bin:/bin".to_owned()));
    assert!(image.has_shell());
    assert_eq!(std::fs::read_to_string(image.layers[0].join("etc/a")).unwrap(), "a");
    assert!(!registry.asked().is_empty());
    let again = store.get("registry.test/me/thing:1").await.unwrap();
    assert_eq!(again, Image { origin: Origin::Kept, ..image.clone() });
    assert!(registry.asked().is_empty(), "nothing was asked");
    let mut more = layers();
    more.push(archive(&[("etc/c", FILE, "c")]));
    registry.image("2", &more);
    let second = store.get("registry.test/me/thing:2").await.unwrap();
    assert!(matches!(second.origin, Origin::Unpacked { layers: 1, .. }), "{:?}", second.origin);
    assert_eq!(second.layers[..2], image.layers[..]);
    let pinned = store.get(&format!("registry.test/me/thing@{manifest}")).await.unwrap();
    assert_eq!((pinned.digest, pinned.layers), (image.digest, image.layers));
    world.assert_clean();
}

#[tokio::test]
async fn two_who_want_the_same_fetch_it_once() {
    let (world, registry) = (World::new(), Registry::start(Ways::default()).await);
    registry.image("1", &layers());
    let store = store(&world, &registry, None);
    let (a, b) = tokio::join!(store.get("registry.test/x:1"), store.get("registry.test/x:1"));
    assert_eq!(a.unwrap().layers, b.unwrap().layers);
    let blobs = registry.asked().iter().filter(|(path, _)| path.contains("/blobs/")).count();
    assert_eq!(blobs, 3, "two layers and a configuration");
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_not_used() {
    let (world, registry) = (World::new(), Registry::start(Ways { bends: true, ..Ways::default() }).await);
    registry.image("1", &layers());
    let store = store(&world, &registry, None);
    assert!(matches!(refused(&store, "registry.test/x:1").await, Error::Unusable { .. }));
    registry.set(|ways| ways.bends = false);
    let wrong = digest(b"something else");
    registry.manifest(&wrong, "{}");
    let error = refused(&store, &format!("registry.test/x@{wrong}")).await;
    assert!(error.to_string().contains("not what its digest says"), "{error}");
    // A layer that is what its digest says, and not what the configuration promised of its content.
    let swapped = registry.blob(gzip(&layers()[1]));
    let config = format!(
        r#"{{"os":"linux","architecture":"{}","rootfs":{{"diff_ids":["{}"]}}}}"#,
        crate::registry::architecture(),
        digest(&layers()[0])
    );
    let config = registry.blob(config.into_bytes());
    let json = format!(
        r#"{{"config":{{"digest":"{}","size":{}}},"layers":[{{"digest":"{}","size":{}}}]}}"#,
        config.0, config.1, swapped.0, swapped.1
    );
    registry.manifest("swapped", &json);
    let error = refused(&store, "registry.test/x:swapped").await;
    assert!(error.to_string().contains("configuration"), "{error}");
    let longer =
        json.replace(&format!("\"size\":{}}}]", swapped.1), &format!("\"size\":{}}}]", swapped.1 - 1));
    registry.manifest("longer", &longer);
    let error = refused(&store, "registry.test/x:longer").await;
    assert!(error.to_string().contains("longer than its manifest"), "{error}");
    world.assert_clean();
    assert_eq!(std::fs::read_dir(world.at.path().join("images/layers")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let (world, registry) = (World::new(), Registry::start(Ways::default()).await);
    registry.image("1", &layers()[..1]);
    let store = store(&world, &registry, None);
    registry.set(|ways| ways.breaks = 1);
    store.get("registry.test/x:1").await.unwrap();
    let blobs = registry.asked().iter().filter(|(path, _)| path.contains("/blobs/")).count();
    assert_eq!(blobs, 3, "the configuration, and the layer twice");
    world.assert_clean();
    let missing = store.get("registry.test/x:none").await;
    assert!(matches!(missing, Err(Error::Missing { .. })), "{missing:?}");
}

#[tokio::test]
async fn a_registry_that_is_down_leaves_what_was_there() {
    let (world, registry) = (World::new(), Registry::start(Ways::default()).await);
    registry.image("1", &layers());
    let store = store(&world, &registry, None);
    let image = store.get("registry.test/x:1").await.unwrap();
    registry.set(|ways| ways.is_down = true);
    assert_eq!(store.get("registry.test/x:1").await.unwrap().origin, Origin::Kept);
    age(&world);
    let old = store.get("registry.test/x:1").await.unwrap();
    assert_eq!((old.origin, old.layers), (Origin::Unasked, image.layers));
    assert!(matches!(refused(&store, "registry.test/x:2").await, Error::Unreachable { .. }));
    registry.set(|ways| ways.is_down = false);
    let manifest = registry.image("1", &layers()[..1]);
    assert_eq!(store.get("registry.test/x:1").await.unwrap().digest, manifest, "the tag has moved");
}

/// Makes every name one that was asked long ago.
fn age(world: &World) {
    for entry in std::fs::read_dir(world.at.path().join("images/names")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let (head, _) = text.rsplit_once("\"asked_at\":").unwrap();
            std::fs::write(entry.path(), format!("{head}\"asked_at\":1}}")).unwrap();
        }
    }
}

#[tokio::test]
async fn only_what_the_operator_allows_is_asked() {
    let (world, registry) = (World::new(), Registry::start(Ways::default()).await);
    registry.image("1", &layers());
    let port = registry.url.rsplit(':').next().unwrap();
    let mut settings = world.settings();
    settings.registries = vec!["*".to_owned()];
    let open = Store::open(settings).unwrap();
    for name in [format!("localhost:{port}/x:1"), format!("127.0.0.1:{port}/x:1"), "169.254.169.254/x".into()]
    {
        let error = refused(&open, &name).await;
        assert!(matches!(error, Error::NotAllowed { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("private"), "{error}");
    }
    let closed = store(&world, &registry, None);
    for name in ["other.test/x", "debian", "evil.registry.test/x"] {
        assert!(matches!(refused(&closed, name).await, Error::NotAllowed { .. }), "{name}");
    }
    for name in ["/etc", "dir:/etc", "../x", ""] {
        assert!(matches!(refused(&closed, name).await, Error::Name { .. }), "{name}");
    }
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn what_opens_a_registry_goes_to_it_alone() {
    let login = "Basic bWU6cGFzcw==".to_owned();
    let ways = Ways { token: true, login: Some(login.clone()), ..Ways::default() };
    let (world, registry) = (World::new(), Registry::start(ways).await);
    let elsewhere = Registry::start(Ways::default()).await;
    registry.image("1", &layers());
    layers().iter().for_each(|layer| drop(elsewhere.blob(gzip(layer))));
    let none = refused(&store(&world, &registry, None), "registry.test/x:1").await;
    assert!(matches!(none, Error::Missing { .. }), "{none:?}");
    let me = Credentials { user: "me".into(), password: "pass".into() };
    assert!(!format!("{me:?}").contains("pass"));
    let store = store(&world, &registry, Some(me));
    registry.asked();
    // Its configuration is asked elsewhere too, and is not there.
    registry.set(|ways| ways.blobs_from = Some(elsewhere.url.clone()));
    let error = refused(&store, "registry.test/x:1").await;
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    let asked = registry.asked();
    assert!(
        asked.iter().all(|(path, key)| key.as_ref() != Some(&login) || path.starts_with("/token")),
        "{asked:?}"
    );
    let there = elsewhere.asked();
    assert!(!there.is_empty() && there.iter().all(|(_, key)| key.is_none()), "{there:?}");
}

#[tokio::test]
async fn what_a_tag_stood_for_can_be_had_after_it_has_moved() {
    let (world, registry) = (World::new(), Registry::start(Ways::default()).await);
    registry.image("1", &layers());
    let first = store(&world, &registry, None).get("registry.test/x:1").await.unwrap();
    registry.image("1", &layers()[..1]);
    let another = World::new();
    let store = store(&another, &registry, None);
    let pinned = store.pinned("registry.test/x:1", &first.digest).await.unwrap();
    assert_eq!((&pinned.digest, pinned.layers.len()), (&first.digest, 2));
    assert_ne!(store.get("registry.test/x:1").await.unwrap().digest, first.digest);
    registry.set(|ways| ways.is_down = true);
    let kept = store.pinned("registry.test/x:1", &first.digest).await.unwrap();
    assert_eq!(kept.origin, Origin::Kept);
    registry.set(|ways| ways.is_down = false);
    let gone = store.pinned("registry.test/x:1", &format!("sha256:{}", "0".repeat(64))).await;
    assert!(matches!(gone, Err(Error::Missing { .. })), "{gone:?}");
    let none = store.pinned("registry.test/x:1", "sha256:x").await;
    assert!(matches!(none, Err(Error::Name { .. })), "{none:?}");
}
