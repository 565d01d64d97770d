//! Tests of the language of `filter`.

use super::*;

fn shape(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Column(name) => name.clone(),
        ExprKind::Number(number) => number.to_string(),
        ExprKind::Whole(number) => format!("{number}!"),
        ExprKind::Text(text) => format!("'{text}'"),
        ExprKind::Moment(text) => text.clone(),
        ExprKind::Flag(flag) => flag.to_string(),
        ExprKind::Negate(a) => format!("(-{})", shape(a)),
        ExprKind::Not(a) => format!("(not {})", shape(a)),
        ExprKind::And(a, b) => format!("({} and {})", shape(a), shape(b)),
        ExprKind::Or(a, b) => format!("({} or {})", shape(a), shape(b)),
        ExprKind::IsNull(a, wanted) => format!("({} null={wanted})", shape(a)),
        ExprKind::Compare(op, a, b) => format!("({op:?} {} {})", shape(a), shape(b)),
        ExprKind::Arithmetic(op, a, b) => format!("({op:?} {} {})", shape(a), shape(b)),
    }
}

#[test]
fn precedence_is_that_of_sql() {
    for (text, expected) in [
        ("a or b and not c = 1", "(a or (b and (not (Equal c 1))))"),
        ("a - b - c * -2 > 1e-3", "(Greater (Subtract (Subtract a b) (Multiply c (-2))) 0.001)"),
        ("(a or b) AND x IS NOT NULL", "((a or b) and (x null=false))"),
        ("\"or\" <> 'it''s'", "(NotEqual or 'it's')"),
        ("1-2<.5", "(Less (Subtract 1 2) 0.5)"),
        ("k = 9007199254740991 or k = 9007199254740992", "((Equal k 9007199254740991) or (Equal k 9007199254740992!))"),
        ("k in ('a', 'b')", "((Equal k 'a') or (Equal k 'b'))"),
        ("not k NOT IN (1)", "(not (not (Equal k 1)))"),
        ("a or n between 1 and 2 and b", "(a or (((GreaterOrEqual n 1) and (LessOrEqual n 2)) and b))"),
        ("in > 1 and between = in", "((Greater in 1) and (Equal between in))"),
        ("t >= 2014-01-31", "(GreaterOrEqual t 2014-01-31)"),
        ("t<2014-01-31T12:00:00.5+02:00 or b", "((Less t 2014-01-31T12:00:00.5+02:00) or b)"),
        ("t = 2014-01-31 12:00 and b", "((Equal t 2014-01-31 12:00) and b)"),
        ("t = 2014-01-31T12:00Z", "(Equal t 2014-01-31T12:00Z)"),
        ("a = 2014 - 01 - 31", "(Equal a (Subtract (Subtract 2014 1) 31))"),
    ] {
        assert_eq!(shape(&parse(text).unwrap()), expected, "{text}");
    }
    assert_eq!(columns("a > 1 and \"b c\" = 'd' or not e.f"), ["a", "b c", "e.f"]);
}

#[test]
fn a_failure_names_the_character() {
    for (text, at, part) in [
        ("value >", 8, "ends"),
        ("value > > 1", 9, "found \">\""),
        ("value ? 1", 7, "unexpected character"),
        ("1 < x < 3", 7, "join two of them by and"),
        ("x = null", 5, "is null"),
        ("(x > 1", 7, "the \"(\" at character 1"),
        ("x = 'abc", 5, "no end"),
        ("x y", 3, "expected and"),
        ("ä > 1.2.3", 5, "not a number"),
        ("x is 3", 6, "expected null"),
        ("x in 3", 6, "expected \"(\" after in"),
        ("x in (3 4)", 9, "expected \",\""),
        ("x between 3 or 4", 13, "expected and"),
        ("x not 3", 3, "unexpected \"not\""),
        ("", 1, "ends"),
    ] {
        let failure = parse(text).unwrap_err();
        assert_eq!(failure.at, at, "{text}: {failure:?}");
        assert!(failure.message.contains(part), "{text}: {failure:?}");
    }
    assert!(parse(&"(".repeat(100_000)).unwrap_err().message.contains("too long"));
    assert!(parse(&format!("{}x{}", "(".repeat(249), ")".repeat(249))).is_ok());
}
