//! .NET.

use serde_json::Value;

use super::project;
use crate::tree::Place;
use crate::{Project, shell};

/// The best first: a solution holds its projects.
const ENDINGS: [&str; 4] = [".slnx", ".sln", ".csproj", ".fsproj"];

/// Projects that `dotnet` can build. C++ has solutions too, of projects that it cannot.
const PROJECTS: [&str; 3] = [".csproj", ".fsproj", ".vbproj"];

/// Whether a file is for `dotnet`. A solution that names no project, or is too large to be read, is taken for one.
fn is_dotnet(place: Place<'_>, file: &str) -> bool {
    let text = place.text(file).filter(|_| file.ends_with(".sln") || file.ends_with(".slnx"));
    let is_foreign = |text: &str| {
        [".vcxproj", ".vcproj"].iter().any(|other| text.contains(other))
            && !PROJECTS.iter().any(|ending| text.contains(ending))
    };
    !text.is_some_and(is_foreign)
}

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let file =
        ENDINGS.iter().find_map(|ending| place.ending(ending).filter(|file| is_dotnet(place, file)))?;
    let mut found = project(".NET", place, file, "a solution or project of .NET").needs("dotnet", "");
    let global: Option<Value> = place.text("global.json").and_then(|text| serde_json::from_str(text).ok());
    let sdk = global
        .as_ref()
        .and_then(|global| global.get("sdk")?.get("version")?.as_str())
        .and_then(shell::version);
    if let Some(version) = sdk {
        found = found
            .because(place.path_of("global.json"), format!("asks for the SDK {version}"))
            .needs("dotnet", version);
    }
    let found = found.with("DOTNET_CLI_TELEMETRY_OPTOUT", "1").with("DOTNET_NOLOGO", "1");
    Some(
        found
            .installs(format!("dotnet restore {}", shell::quoted(file)))
            .tests(format!("dotnet test {}", shell::quoted(file))),
    )
}
