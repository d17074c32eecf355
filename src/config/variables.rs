//! `${NAME}` and `${NAME:-default}` in values. The environment is an argument.
//!
//! Variables are filled in after the YAML was read, so that no value of theirs can become a key, a list or a comment.

/// Fills in variables; the error says what to do. `$$` is a dollar sign.
pub(super) fn fill_in(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            filled.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (inner, tail) = inner.split_once('}').ok_or("close `${` with `}`")?;
            filled.push_str(&look_up(inner, env)?);
            rest = tail;
        } else {
            return Err("write ${NAME} for a variable, and $$ for a dollar sign".to_owned());
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// As in a shell, the default also stands in for a variable that is set to nothing.
fn look_up(inner: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err("within ${…} write a name, or a name and a default: ${NAME:-default}".to_owned());
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "set the variable {name}, or write a default: ${{{name}:-…}}"
        )),
    }
}

fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}
