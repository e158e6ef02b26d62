//! What a container runs: the image's entry point, command and environment with the service's laid
//! over.
//!
//! The rules are Docker's (Dockerfile reference, "Understand how CMD and ENTRYPOINT interact";
//! compose specification, `command` and `entrypoint`). Pure: no file is looked at here.

use compose::model::Process;
use container_images::ImageConfig;

/// Where programs are looked for if neither image nor service says; Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The kernel's limit on all arguments and variables together is 2 MiB (`execve(2)`); one fourth is
/// plenty.
const MAX_ARGUMENT_BYTES: usize = 512 << 10;

/// The arguments of the command line; never empty.
pub(super) fn arguments(
    image: &ImageConfig,
    process: &Process,
) -> Result<Vec<String>, ProcessError> {
    let (entrypoint, command) = match (&process.entrypoint, &process.command) {
        (Some(entrypoint), Some(command)) => (entrypoint, Some(command)),
        (Some(entrypoint), None) => (entrypoint, None),
        (None, Some(command)) => (&image.entrypoint, Some(command)),
        (None, None) => (&image.entrypoint, Some(&image.command)),
    };
    let arguments: Vec<String> =
        entrypoint.iter().chain(command.into_iter().flatten()).cloned().collect();
    if arguments.is_empty() {
        return Err(ProcessError::NoCommand);
    }
    refuse_nul(&arguments)?;
    Ok(arguments)
}

/// `NAME=value`, each name once: what Docker always sets, then the image's, then the service's.
pub(super) fn environment(
    image: &ImageConfig,
    own: &[(String, String)],
    host_name: &str,
) -> Result<Vec<String>, ProcessError> {
    let mut variables: Vec<(String, String)> =
        vec![("PATH".into(), DEFAULT_PATH.into()), ("HOSTNAME".into(), host_name.to_owned())];
    let mut set =
        |name: &str, value: &str| match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => variables.push((name.to_owned(), value.to_owned())),
        };
    for variable in &image.environment {
        match variable.split_once('=') {
            Some((name, value)) if !name.is_empty() => set(name, value),
            _ => return Err(ProcessError::Variable(variable.clone())),
        }
    }
    for (name, value) in own {
        set(name, value);
    }
    let variables: Vec<String> =
        variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    refuse_nul(&variables)?;
    Ok(variables)
}

fn refuse_nul(arguments: &[String]) -> Result<(), ProcessError> {
    if arguments.iter().any(|word| word.contains('\0')) {
        return Err(ProcessError::Nul);
    }
    let bytes = arguments.iter().map(|word| word.len() + 1).sum();
    if bytes > MAX_ARGUMENT_BYTES {
        return Err(ProcessError::TooLong(bytes));
    }
    Ok(())
}

/// Why image and service give no process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// neither says what to run
    #[error("neither the image nor the service has a command or entry point")]
    NoCommand,
    /// a variable of the image has no name or no value
    #[error("the image's variable {0:?} is not NAME=value")]
    Variable(String),
    /// a NUL cannot be passed to a program
    #[error("a NUL character in the image's command or environment")]
    Nul,
    /// too much for one process
    #[error("arguments or variables have {0} bytes, more than {MAX_ARGUMENT_BYTES}")]
    TooLong(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(entrypoint: Option<&[&str]>, command: Option<&[&str]>) -> Process {
        let arguments =
            |arguments: &[&str]| arguments.iter().map(|word| word.to_string()).collect();
        Process {
            entrypoint: entrypoint.map(arguments),
            command: command.map(arguments),
            ..Process::default()
        }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".into()],
            command: vec!["default".into()],
            environment: vec!["A=1".into(), "B=2".into()],
            ..ImageConfig::default()
        }
    }

    #[test]
    fn a_new_entrypoint_drops_the_command_of_the_image() {
        let (new, a, none): (&[&str], &[&str], &[&str]) = (&["/new"], &["a"], &[]);
        for (entrypoint, command, expected) in [
            (None, None, vec!["/entry", "default"]),
            (None, Some(a), vec!["/entry", "a"]),
            (None, Some(none), vec!["/entry"]),
            (Some(new), None, vec!["/new"]),
            (Some(new), Some(a), vec!["/new", "a"]),
            (Some(none), Some(a), vec!["a"]),
        ] {
            let process = process(entrypoint, command);
            assert_eq!(
                arguments(&image(), &process).as_deref(),
                Ok(&expected.map_strings()[..]),
                "{process:?}"
            );
        }
        let nothing = arguments(&image(), &process(Some(none), None));
        assert_eq!(nothing, Err(ProcessError::NoCommand));
    }

    trait MapStrings {
        fn map_strings(&self) -> Vec<String>;
    }

    impl MapStrings for Vec<&str> {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(|word| word.to_string()).collect()
        }
    }

    #[test]
    fn the_service_overrides_the_image() {
        let own = [("B".to_owned(), "3".to_owned()), ("PATH".to_owned(), "/bin".to_owned())];
        let variables = environment(&image(), &own, "web");
        assert_eq!(variables, Ok(vec!["PATH=/bin", "HOSTNAME=web", "A=1", "B=3"].map_strings()));
        let bad = ImageConfig { environment: vec!["=x".into()], ..ImageConfig::default() };
        assert_eq!(environment(&bad, &[], "web"), Err(ProcessError::Variable("=x".into())));
    }
}
