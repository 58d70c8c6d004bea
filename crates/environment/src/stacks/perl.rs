//! Perl: ExtUtils::MakeMaker, Module::Build, a cpanfile, or tests alone.

use super::project;
use crate::Project;
use crate::tree::Place;

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let file = place.first(&["Makefile.PL", "Build.PL", "cpanfile", "dist.ini"])?;
    let mut found = project("Perl", place, file, "a distribution of Perl").needs("perl", "");
    if place.first(&["cpanfile", "Makefile.PL", "Build.PL"]).is_some() {
        // Into a directory of its own, and only where there is something that installs.
        found = found.with("PERL5LIB", "/home/agent/.perl5/lib/perl5").installs(
            "if command -v cpanm >/dev/null; then cpanm --quiet --notest --local-lib-contained \"$HOME/.perl5\" --installdeps .; else echo 'cpanm is not here: only the modules of the machine are used'; fi",
        );
    }
    Some(match file {
        "Makefile.PL" => found.tests("perl Makefile.PL && make && make test"),
        "Build.PL" => found.tests("perl Build.PL && ./Build && ./Build test"),
        _ => found.tests("prove -lr t"),
    })
}
