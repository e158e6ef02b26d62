//! Engines: which component decides, and how many calls there are at once.

use std::thread;

use pad_runner::{EngineError, Refused, component};

use crate::programs::{self, check_input, yes};

#[test]
fn an_engine_is_the_component_that_the_caller_names() {
    let engines = programs::engines();
    let yes = programs::engine("");
    let mut other = yes.clone();
    // A custom section: the same program, another component.
    other.extend([0, 2, 1, b'x']);
    let expected = component::digest(&yes);
    let refused = engines.load(expected, &other, None).err();
    assert!(matches!(refused, Some(Refused::Digest { .. })), "{refused:?}");
    assert!(engines.load(expected, &yes, None).is_ok());
    assert!(engines.load(component::digest(&other), &other, None).is_ok());
}

#[test]
fn many_calls_one_after_the_other_need_no_more_than_one_instance_each() {
    let engines = programs::engines();
    let component = programs::engine("");
    let (engine, _) = engines.load(component::digest(&component), &component, None).expect("yes");
    for _ in 0..100 {
        assert_eq!(check_input(&engine), Ok(vec![yes()]));
    }
}

#[test]
fn calls_at_once_are_answered_or_refused_by_name() {
    let engines = programs::engines();
    let text = r#"(func (export "check-input") (type $input)
        (local $i i32)
        (loop $on
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $on (i32.lt_u (local.get $i) (i32.const 1000000))))
        (call $yes))"#;
    let component = programs::engine(text);
    let (engine, _) = engines.load(component::digest(&component), &component, None).expect("yes");
    thread::scope(|scope| {
        let calls: Vec<_> = (0..40).map(|_| scope.spawn(|| check_input(&engine))).collect();
        for call in calls {
            let found = call.join().expect("no panic");
            assert!(found == Ok(vec![yes()]) || found == Err(EngineError::Busy), "{found:?}");
        }
    });
}
