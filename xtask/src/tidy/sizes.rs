//! Files with one concern and functions that fit a screen.

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::Source;

/// Lines of a file, tests not counted.
const MAX_FILE: usize = 600;
/// Lines of a function; a longer one needs a comment `// Long: why` right before it.
const MAX_FUNCTION: usize = 60;
/// Parameters, the receiver not counted.
const MAX_PARAMETERS: usize = 6;

/// Checks every file.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let code = source.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut findings = Vec::new();
    let lines = code.lines().count();
    let is_test = source.path.components().any(|part| part.as_os_str() == "tests");
    if lines > MAX_FILE && !is_test {
        findings.push(format!("{path}: {lines} lines, at most {MAX_FILE}; split it by concern"));
    }
    match syn::parse_file(&source.text) {
        Ok(file) => {
            let mut functions = Functions { source, findings };
            functions.visit_file(&file);
            functions.findings
        }
        Err(error) => {
            findings.push(format!("{path}: {error}"));
            findings
        }
    }
}

struct Functions<'a> {
    source: &'a Source,
    findings: Vec<String>,
}

impl Functions<'_> {
    fn judge(&mut self, signature: &syn::Signature, body: Span) {
        let path = self.source.path.display();
        let (start, end) = (signature.span().start().line, body.end().line);
        let lines = end + 1 - start;
        if lines > MAX_FUNCTION && !self.has_reason(start) {
            let name = &signature.ident;
            self.findings.push(format!(
                "{path}:{start}: fn {name} has {lines} lines, at most {MAX_FUNCTION}"
            ));
        }
        let parameters =
            signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        if parameters > MAX_PARAMETERS {
            self.findings.push(format!(
                "{path}:{start}: fn {} has {parameters} parameters",
                signature.ident
            ));
        }
    }

    fn has_reason(&self, line: usize) -> bool {
        let before = self.source.text.lines().take(line.saturating_sub(1)).collect::<Vec<_>>();
        before.iter().rev().take(6).any(|line| line.contains("// Long: "))
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.judge(&function.sig, function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.judge(&function.sig, function.block.span());
        visit::visit_impl_item_fn(self, function);
    }
}
