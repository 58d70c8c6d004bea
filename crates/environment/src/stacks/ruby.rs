//! Ruby: Bundler.

use super::project;
use crate::tree::Place;
use crate::{Project, shell, text};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let gemspec = place.ending(".gemspec");
    let file = place.first(&["Gemfile"]).or(gemspec)?;
    let mut found = project("Ruby", place, file, "dependencies for Bundler").needs("ruby", "");
    if let Some(version) = place.text(".ruby-version").and_then(|text| text::lines(text).next()) {
        let version = version.trim_start_matches("ruby-");
        if let Some(version) = shell::version(version) {
            found = found
                .because(place.path_of(".ruby-version"), format!("asks for Ruby {version}"))
                .needs("ruby", version);
        }
    }
    let bundled = place.has("Gemfile");
    if bundled {
        // Beside the checkout, so that its files stay as they are; and above the machine's own gems, which Bundler would not
        // look at with a path of its own (`BUNDLE_PATH`). Those that are there already are not asked for again.
        found = found
            .with("GEM_HOME", "/home/agent/.gem")
            .installs("bundle install --local --quiet 2>/dev/null || bundle install");
    }
    let exec = if bundled { "bundle exec " } else { "" };
    let rakefile = place.text("Rakefile").unwrap_or_default();
    let task = ["test", "spec"].into_iter().find(|task| mentions_task(rakefile, task));
    Some(if let Some(task) = task {
        found
            .because(place.path_of("Rakefile"), format!("a task {task:?}"))
            .tests(format!("{exec}rake {task}"))
    } else if place.has(".rspec") || place.has_below("spec") {
        let file = if place.has(".rspec") { ".rspec" } else { "spec" };
        found.because(place.path_of(file), "tests for RSpec").tests(format!("{exec}rspec"))
    } else if let Some(file) = place.files().find(|path| path.starts_with("test/") && path.ends_with(".rb")) {
        let run = format!(
            "{exec}ruby -Ilib -Itest -e 'Dir[\"./test/**/{{test_*,*_test}}.rb\"].each {{ |f| require f }}'"
        );
        found.because(place.path_of(file), "a file of tests").tests(run)
    } else {
        found
    })
}

fn mentions_task(rakefile: &str, task: &str) -> bool {
    let forms = [
        format!("task :{task}"),
        format!("task {task}:"),
        format!("TestTask.new(:{task}"),
        format!("RakeTask.new(:{task}"),
    ];
    let plain = match task {
        "test" => "TestTask.new",
        _ => "RakeTask.new",
    };
    forms.iter().any(|form| rakefile.contains(form.as_str())) || rakefile.contains(plain)
}
