//! Java and its kin: Maven and Gradle, by their wrappers where there are any; Ant.

use super::project;
use crate::tree::Place;
use crate::{Project, shell, text};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    maven(place).or_else(|| gradle(place)).or_else(|| ant(place)).map(|found| java_version(found, place))
}

fn maven(place: Place<'_>) -> Option<Project> {
    place.text("pom.xml")?;
    let program = if place.has("mvnw") { "sh ./mvnw" } else { "mvn" };
    let mut found = project("Java (Maven)", place, "pom.xml", "a project of Maven").needs("java", "");
    if place.has("mvnw") {
        found = found.because(place.path_of("mvnw"), "brings its own Maven");
    } else {
        found = found.needs("maven", "");
    }
    // To compile the tests needs what they need, and to resolve alone (dependency:go-offline) often finds too little.
    let install = format!("{program} --batch-mode --no-transfer-progress -DskipTests test-compile");
    Some(found.installs(install).tests(format!("{program} --batch-mode --no-transfer-progress test")))
}

fn gradle(place: Place<'_>) -> Option<Project> {
    let file =
        place.first(&["settings.gradle.kts", "settings.gradle", "build.gradle.kts", "build.gradle"])?;
    let program = if place.has("gradlew") { "sh ./gradlew" } else { "gradle" };
    let mut found = project("Java (Gradle)", place, file, "a build of Gradle").needs("java", "");
    if place.has("gradlew") {
        found = found.because(place.path_of("gradlew"), "brings its own Gradle");
    } else {
        found = found.needs("gradle", "");
    }
    let install = format!("{program} --no-daemon --console=plain testClasses");
    Some(found.installs(install).tests(format!("{program} --no-daemon --console=plain test")))
}

fn ant(place: Place<'_>) -> Option<Project> {
    // Projects of PHP have used Ant too.
    let text = place.text("build.xml").filter(|_| !place.has("composer.json"))?;
    let target = ["test", "check"].into_iter().find(|name| text.contains(&format!("target name=\"{name}\"")));
    let found =
        project("Java (Ant)", place, "build.xml", "a build of Ant").needs("java", "").needs("ant", "");
    Some(match target {
        Some(target) => found.tests(format!("ant {target}")),
        None => found,
    })
}

fn java_version(found: Project, place: Place<'_>) -> Project {
    if let Some(version) =
        place.text(".java-version").and_then(|text| text::lines(text).next()).and_then(shell::version)
    {
        return found
            .because(place.path_of(".java-version"), format!("asks for Java {version}"))
            .needs("java", version);
    }
    let stated =
        place.text(".sdkmanrc").into_iter().flat_map(text::lines).find_map(|line| line.strip_prefix("java="));
    if let Some(version) = stated.and_then(shell::version) {
        return found
            .because(place.path_of(".sdkmanrc"), format!("asks for Java {version}"))
            .needs("java", version);
    }
    let tags = ["maven.compiler.release", "maven.compiler.target", "java.version", "release"];
    let pom = place.text("pom.xml").unwrap_or_default();
    let stated = tags.iter().find_map(|tag| {
        let (_, rest) = pom.split_once(&format!("<{tag}>"))?;
        rest.split('<').next().and_then(shell::version)
    });
    match stated {
        Some(version) => found.because(place.path_of("pom.xml"), format!("is for Java {version}")),
        None => found,
    }
}
