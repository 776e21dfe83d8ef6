//! The reference of all settings, from the declarations that read them.

use std::fmt::Write as _;

use chassis::config::reference_table;

use crate::settings::chapters;

const INTRODUCTION: &str = "\
# Configuration

Settings come from the environment. This page is printed by `postrider config-docs`; to change it,
change the declarations.

A process reads the settings of the roles that it runs, and checks them before it opens a port. All
problems are told at once, and the process ends with exit code 64. A name that begins with
`POSTRIDER_` and that no role knows is one of these problems; a setting of a role that does not run
in this process is not, so that all processes of a deployment can share one environment.

Durations are numbers with a unit: `250ms`, `10s`, `15m`, `4h`, `3d`. Sizes are bytes, or numbers
with a unit: `64KiB`, `1MiB`, `8GiB`.
";

/// The whole page, as Markdown.
pub(crate) fn text() -> String {
    let mut text = INTRODUCTION.to_owned();
    for chapter in chapters() {
        if chapter.settings.is_empty() {
            continue;
        }
        let table = reference_table(&chapter.settings);
        let _ = write!(text, "\n## {}\n\n{}\n\n{table}", chapter.title, chapter.about);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_every_role_and_no_empty_table() {
        let text = super::text();
        for role in crate::roles::Role::PLATFORM {
            assert!(text.contains(&format!("\n## {}\n", role.as_str())), "{}", role.as_str());
        }
        assert!(!text.contains("--- |\n\n"), "{text}");
    }
}
