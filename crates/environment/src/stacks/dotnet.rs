//! .NET.

use serde_json::Value;

use super::project;
use crate::tree::Place;
use crate::{Project, shell};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let file = [".slnx", ".sln", ".csproj", ".fsproj"].iter().find_map(|ending| place.ending(ending))?;
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
