//! A look at Rust source text: a file's bytes enter, the paths it names and the sizes of its functions leave.
//!
//! It knows words, `::`, braces, comments and strings, and drops what is under `#[cfg(test)]`. It does not know types,
//! macros or what a name was imported as: `tests/it/layering.rs` needs no more, clippy's `disallowed_methods` sees the rest.

/// One file of `src/`, tests aside.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it lies in the crate: `sink/elasticsearch/encode.rs` is `[sink, elasticsearch, encode]`, `lib.rs` is `[]`.
    pub(super) module: Vec<String>,
    /// Every path in a `use`, and every path with a `::` elsewhere, with its line. `crate`, `self` and `super` are resolved:
    /// a path of our own begins with `crate`.
    pub(super) paths: Vec<(usize, Vec<String>)>,
    /// Line, name and length in lines of every function.
    pub(super) functions: Vec<(usize, String, usize)>,
    /// Lines of `async` and `await`.
    pub(super) awaits: Vec<usize>,
    /// Lines without those of tests.
    pub(super) lines: usize,
    /// Modules that only tests see.
    pub(super) test_modules: Vec<Vec<String>>,
}

impl Source {
    /// Reads a file of `src/` by its path below `src/`.
    pub(super) fn read(path: &str, text: &str) -> Self {
        let module = module_of(path);
        let tokens = tokens(text);
        let (code, test_modules, test_lines) = without_tests(&tokens, &module);
        let mut source = Self {
            paths: Vec::new(),
            functions: functions(&code),
            awaits: code
                .iter()
                .filter(|token| token.is("async") || token.is("await"))
                .map(|token| token.line)
                .collect(),
            lines: text.lines().count() - test_lines,
            test_modules,
            module,
        };
        source.collect_paths(&code);
        source
    }

    fn collect_paths(&mut self, code: &[Token<'_>]) {
        let mut at = 0;
        while at < code.len() {
            let line = code[at].line;
            if code[at].is("use") {
                let mut found = Vec::new();
                at = use_tree(code, at + 1, &[], &mut found);
                for path in found {
                    self.paths.push((line, self.resolve(path)));
                }
            } else if code[at].is_word() && code.get(at + 1).is_some_and(|next| next.is("::")) {
                let (path, next) = path_at(code, at);
                self.paths.push((line, self.resolve(path)));
                at = next;
            } else {
                at += 1;
            }
        }
    }

    /// `super::x` in `a/b.rs` is `crate::a::x`.
    fn resolve(&self, path: Vec<String>) -> Vec<String> {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let own = match path[0].as_str() {
            // main.rs is a crate of its own and calls the library by its name.
            "crate" | "longshore" => &[][..],
            "self" => &self.module[..],
            "super" => &self.module[..self.module.len().saturating_sub(ups)],
            _ => return path,
        };
        let rest = path.iter().skip(ups.max(1));
        let resolved = std::iter::once("crate").chain(own.iter().map(String::as_str));
        resolved.map(str::to_owned).chain(rest.cloned()).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        self.text == text
    }

    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn module_of(path: &str) -> Vec<String> {
    let mut module: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// Words, `::` and single characters; no comments, no literals.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut out, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '"' => string(rest, 0),
            '\'' => character(rest),
            c if c.is_alphabetic() || c == '_' => {
                let word = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                match literal_prefix(rest, word) {
                    Some(literal) => literal,
                    None => {
                        out.push(Token {
                            text: &rest[..word],
                            line,
                        });
                        word
                    }
                }
            }
            ':' if rest.starts_with("::") => {
                out.push(Token { text: "::", line });
                2
            }
            c => {
                if !c.is_whitespace() {
                    out.push(Token {
                        text: &rest[..c.len_utf8()],
                        line,
                    });
                }
                c.len_utf8()
            }
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    out
}

/// `r"…"`, `b"…"`, `br#"…"#`, `b'…'`: the length of the literal that this word begins, if it begins one.
fn literal_prefix(rest: &str, word: usize) -> Option<usize> {
    if !matches!(&rest[..word], "r" | "b" | "br" | "c" | "cr") {
        return None;
    }
    let after = &rest[word..];
    if after.starts_with('\'') {
        return Some(word + character(after));
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return None;
    }
    if !rest[..word].contains('r') {
        return Some(word + string(after, 0));
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = &after[hashes + 1..];
    Some(word + hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// The length of a string literal that begins at `from`, quotes included.
fn string(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest[from..].char_indices().skip(1) {
        match c {
            '"' if !escaped => return from + at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    rest.len()
}

/// The length of a character literal, or 1 for the tick of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|&(_, c)| c == '\'').map_or(1, |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// The length of a block comment; they nest.
fn comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    loop {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match rest[at..].chars().next() {
                Some(c) => at += c.len_utf8(),
                None => return at,
            }
        }
    }
}

/// The tokens outside `#[cfg(test)]` items, the test-only modules that are files, and how many lines the items take.
fn without_tests<'a>(tokens: &[Token<'a>], module: &[String]) -> (Vec<Token<'a>>, Vec<Vec<String>>, usize) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut code, mut modules, mut lines, mut at) = (Vec::new(), Vec::new(), 0, 0);
    while at < tokens.len() {
        let marked = tokens[at..].len() > MARK.len()
            && tokens[at..].iter().zip(MARK).all(|(token, mark)| token.is(mark));
        if !marked {
            code.push(tokens[at]);
            at += 1;
            continue;
        }
        let begin = at;
        let mut item = at + MARK.len();
        while tokens.get(item).is_some_and(|token| token.is("#")) {
            item = closing(tokens, item + 1) + 1;
        }
        let end = (item..tokens.len())
            .find(|&at| tokens[at].is(";") || tokens[at].is("{"))
            .unwrap_or(tokens.len() - 1);
        at = if tokens[end].is("{") {
            closing(tokens, end)
        } else {
            end
        };
        if tokens[end].is(";")
            && let Some(name) = (item..end)
                .find(|&at| tokens[at].is("mod"))
                .map(|at| tokens[at + 1].text)
        {
            modules.push(module.iter().cloned().chain([name.to_owned()]).collect());
        }
        lines += tokens[at.min(tokens.len() - 1)].line - tokens[begin].line + 1;
        at += 1;
    }
    (code, modules, lines)
}

/// Where the bracket at `open` is closed.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

fn functions(code: &[Token<'_>]) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, pair) in code.windows(2).enumerate() {
        if !pair[0].is("fn") || !pair[1].is_word() {
            continue;
        }
        let body = (at..code.len()).find(|&at| code[at].is("{") || code[at].is(";"));
        if let Some(open) = body.filter(|&open| code[open].is("{")) {
            let end = code[closing(code, open)].line;
            found.push((pair[0].line, pair[1].text.to_owned(), end - pair[0].line + 1));
        }
    }
    found
}

/// `a::b::c` from `at`; also where it ends.
fn path_at(code: &[Token<'_>], mut at: usize) -> (Vec<String>, usize) {
    let mut path = vec![code[at].text.to_owned()];
    while code.get(at + 1).is_some_and(|token| token.is("::")) && code.get(at + 2).is_some_and(Token::is_word)
    {
        path.push(code[at + 2].text.to_owned());
        at += 2;
    }
    (path, at + 1)
}

/// Unfolds `a::{b, c::{d, self}}` from `at` to its end, which is returned.
fn use_tree(code: &[Token<'_>], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = code.get(at) {
        match token.text {
            "::" => {}
            "{" => {
                at += 1;
                while !code[at].is("}") {
                    at = use_tree(code, at, &path, found);
                    if code[at].is(",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            // What it is called here does not matter.
            "as" => at += 1,
            _ if token.is_word() || token.is("*") => path.push(token.text.to_owned()),
            _ => break,
        }
        at += 1;
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if !path.is_empty() {
        found.push(path);
    }
    at
}
