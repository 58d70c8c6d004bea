//! C and C++: CMake, Meson, the autotools. Built beside the checkout.

use super::project;
use crate::Project;
use crate::tree::Place;

/// Where builds go.
const BUILD: &str = "\"$HOME/build\"";

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    autotools(place).or_else(|| meson(place)).or_else(|| cmake(place))
}

fn cmake(place: Place<'_>) -> Option<Project> {
    let text = place.text("CMakeLists.txt")?;
    let found = project("C/C++ (CMake)", place, "CMakeLists.txt", "a project of CMake")
        .needs("cmake", "")
        .needs("cc", "");
    let testing: String = option_for_tests(text).map(|option| format!(" -D{option}=ON")).unwrap_or_default();
    let build = format!("cmake --build {BUILD} --parallel");
    let found = found
        .installs(format!("cmake -S . -B {BUILD} -DCMAKE_BUILD_TYPE=RelWithDebInfo{testing}"))
        .installs(build.clone());
    Some(found.tests(format!("{build} && ctest --test-dir {BUILD} --output-on-failure")))
}

/// The option of a project that turns its tests on: `option(FOO_BUILD_TESTS …)`.
fn option_for_tests(text: &str) -> Option<String> {
    let names = text.match_indices("option(").filter_map(|(at, word)| {
        let name = text[at + word.len()..].split_whitespace().next()?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && name.len() <= 80).then_some(name)
    });
    let mut names = names.filter(|name| {
        let name = name.to_ascii_uppercase();
        [
            "BUILD_TEST",
            "BUILD_TESTS",
            "ENABLE_TEST",
            "ENABLE_TESTS",
            "BUILD_TESTING",
            "WITH_TESTS",
            "ENABLE_TESTING",
            "_TESTS",
            "_TEST",
        ]
        .iter()
        .any(|ending| name.ends_with(ending))
    });
    names.next().map(str::to_owned)
}

fn meson(place: Place<'_>) -> Option<Project> {
    place.text("meson.build")?;
    let found = project("C/C++ (Meson)", place, "meson.build", "a project of Meson")
        .needs("meson", "")
        .needs("ninja", "")
        .needs("cc", "");
    let found = found
        .installs(format!("test -d {BUILD} || meson setup {BUILD} ."))
        .installs(format!("meson compile -C {BUILD}"));
    Some(found.tests(format!("meson test -C {BUILD} --print-errorlogs")))
}

fn autotools(place: Place<'_>) -> Option<Project> {
    let file = place.first(&["configure", "configure.ac", "configure.in"])?;
    let found = project("C/C++ (autotools)", place, file, "configured by the autotools")
        .needs("cc", "")
        .needs("make", "");
    let prepare = if place.has("configure") {
        "sh ./configure"
    } else if place.has("autogen.sh") {
        "NOCONFIGURE=1 sh ./autogen.sh && sh ./configure"
    } else {
        "autoreconf --force --install && sh ./configure"
    };
    let found = found.installs(prepare).installs("make -j\"$(nproc)\"");
    Some(found.tests("make -j\"$(nproc)\" check"))
}
