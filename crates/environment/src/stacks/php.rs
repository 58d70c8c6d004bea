//! PHP: Composer.

use serde_json::Value;

use super::project;
use crate::tree::Place;
use crate::{Project, shell};

/// The project's own PHPUnit, or the machine's.
const PHPUNIT: &str = "PATH=\"$PWD/vendor/bin:$PATH\" phpunit";

/// Whether it asks for more than PHP itself and its extensions.
fn needs_packages(manifest: &Value) -> bool {
    let is_package = |name: &String| name.contains('/');
    manifest.get("require").and_then(Value::as_object).is_some_and(|all| all.keys().any(is_package))
}

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let manifest: Value = serde_json::from_str(place.text("composer.json")?).ok()?;
    let mut found = project("PHP", place, "composer.json", "a package of Composer")
        .needs("php", "")
        .needs("composer", "");
    if let Some(range) = manifest.get("require").and_then(|require| require.get("php")?.as_str()) {
        let range: String = range.chars().filter(|c| !c.is_control()).take(80).collect();
        found = found.because(place.path_of("composer.json"), format!("needs PHP {range}"));
    }
    let install = "composer install --no-interaction --no-progress";
    found = found.installs(if needs_packages(&manifest) {
        install.to_owned()
    } else {
        // It needs nothing but a runner of tests, which the machine may have.
        format!("{install} || {{ command -v phpunit >/dev/null && composer dump-autoload --dev --no-interaction; }}")
    });
    let script = manifest.get("scripts").and_then(|scripts| {
        ["test", "tests", "phpunit"].into_iter().find(|name| scripts.get(name).is_some())
    });
    let phpunit = place.first(&["phpunit.xml", "phpunit.xml.dist"]);
    Some(if let Some(script) = script.filter(|name| shell::is_name(name)) {
        found
            .because(place.path_of("composer.json"), format!("a script {script:?}"))
            .tests(format!("composer {script}"))
    } else if let Some(file) = phpunit {
        found.because(place.path_of(file), "tests for PHPUnit").tests(PHPUNIT)
    } else if place.has_below("tests")
        && manifest.get("require-dev").is_some_and(|dev| dev.get("phpunit/phpunit").is_some())
    {
        found.because(place.path_of("tests"), "tests for PHPUnit").tests(format!("{PHPUNIT} tests"))
    } else {
        found
    })
}
