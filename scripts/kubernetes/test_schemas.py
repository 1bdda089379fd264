"""Every object of every overlay is valid, and none would be if any of its fields were wrong."""

import copy
import unittest

import manifests
import schemas

# Maps whose keys are as one likes, by the name of the field that holds them.
FREE = {"annotations", "data", "labels", "limits", "matchLabels", "requests"}


def fields(value, path=()):
    """The way to each field of an object that has a name of its own."""
    if isinstance(value, dict):
        for key, inner in value.items():
            of_a_trigger = path[-3:-2] + path[-1:] == ("triggers", "metadata")
            if path[-1:] and path[-1] in FREE or of_a_trigger or "/" in key:
                continue
            yield (*path, key)
            yield from fields(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from fields(inner, (*path, index))


def changed(thing: dict, path: tuple, change) -> dict:
    """A copy in which `change` was made to what holds the last step of the way."""
    thing = copy.deepcopy(thing)
    place = thing
    for step in path[:-1]:
        place = place[step]
    change(place, path[-1])
    return thing


def misspell(place, key):
    place[f"{key}X"] = place.pop(key)


def make_another(place, key):
    """A value of a kind that is right nowhere: for a list a number, for all else lists."""
    place[key] = 7 if isinstance(place[key], list) else [[]]


class Schemas(unittest.TestCase):
    def test_all_objects_are_valid(self):
        for name in manifests.NAMES:
            things = manifests.rendered(name) + (manifests.made_secrets() if name == "dev" else [])
            for thing, mistakes in zip(things, schemas.mistakes(things), strict=True):
                with self.subTest(name, thing=manifests.called(thing)):
                    self.assertEqual(mistakes, [])

    def test_a_wrong_field_is_noticed_in_every_kind(self):
        things = {}
        for name in manifests.NAMES:
            for thing in manifests.rendered(name):
                # The largest of its kind has most fields.
                known = things.get(thing["kind"], {})
                things[thing["kind"]] = max(
                    thing, known, key=lambda thing: len(list(fields(thing)))
                )
        broken = [
            (f"{kind}: {change.__name__} {'.'.join(map(str, path))}", changed(thing, path, change))
            for kind, thing in things.items()
            for path in fields(thing)
            # What says which schema it is.
            if path not in [("apiVersion",), ("kind",)]
            for change in (misspell, make_another)
        ]
        self.assertGreater(len(broken), 20 * len(things))
        found = schemas.mistakes([thing for _, thing in broken])
        unnoticed = [
            what for (what, _), mistakes in zip(broken, found, strict=True) if not mistakes
        ]
        self.assertEqual(unnoticed, [])


if __name__ == "__main__":
    unittest.main()
