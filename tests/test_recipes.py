"""Recipes: each result of the documents as a file that `keras-faces train --recipe` runs."""

import pytest
from PIL import Image

import keras_faces as kf
from keras_faces import recipes
from keras_faces.data import CROPS, DATASETS
from keras_faces.data.labels import LABELS
from keras_faces.data.splits import SPLITS
from keras_faces.plan import resolve
from keras_faces.recipes import load_recipe

EVERY_RECIPE = pytest.mark.parametrize("name", kf.list_recipes())
# What `kf.train` takes from a budget; anything else would be passed over without a word.
KEYS = {
    "data",
    "epochs",
    "steps",
    "minutes",
    "batch_size",
    "split",
    "crop",
    "labels",
    "grid_epochs",
    "hyperparameters",
}


def budgets(recipe):
    return [("paper", recipe.paper), ("quick", recipe.quick)]


@EVERY_RECIPE
def test_a_recipe_names_a_model_and_says_whose_result_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.model in kf.list_models()
    for text in (recipe.document, recipe.result, recipe.states, recipe.data):
        assert isinstance(text, str)
        assert text.strip()
        assert "\n" not in text  # `list recipes` prints a line for each


@EVERY_RECIPE
def test_a_recipe_says_only_what_training_takes(name):
    recipe = load_recipe(name)
    for budget, given in budgets(recipe):
        assert set(given) <= KEYS, budget
        assert len({"epochs", "steps", "minutes"} & set(given)) <= 1, budget
        for key in ("epochs", "steps", "minutes", "batch_size"):
            assert given.get(key, 1) > 0, (budget, key)
        assert given.get("crop", "center") in CROPS
        assert given.get("split", "train") in SPLITS
        assert given.get("labels") in LABELS
        assert all(isinstance(epoch, int) and epoch > 0 for epoch in given.get("grid_epochs", []))


@EVERY_RECIPE
def test_every_hyperparameter_that_a_recipe_names_exists(name):
    recipe = load_recipe(name)
    known = kf.models.hyperparameters(recipe.model)
    for budget, given in budgets(recipe):
        assert set(given.get("hyperparameters", {})) <= set(known), budget


@EVERY_RECIPE
def test_labels_are_given_for_models_that_learn_conditions_alone(name):
    recipe = load_recipe(name)
    for _, given in budgets(recipe):
        if not kf.models.MODELS[recipe.model].conditional:
            assert "labels" not in given


@EVERY_RECIPE
def test_the_paper_budget_asks_for_data_unless_they_come_with_the_package(name):
    recipe = load_recipe(name)
    if "data" in recipe.paper:
        assert recipe.paper["data"] in DATASETS
        assert recipe.arguments("paper")["data"] == recipe.paper["data"]
        return
    with pytest.raises(kf.UserError) as caught:
        recipe.arguments("paper")
    for part in (repr(name), recipe.data, "--data", "--budget quick"):
        assert part in str(caught.value)
    assert recipe.arguments("paper", "my/faces") == {**recipe.paper, "data": "my/faces"}


@EVERY_RECIPE
def test_the_quick_budget_needs_nothing_and_builds_its_model(name):
    recipe = load_recipe(name)
    given = recipe.arguments("quick")
    assert given["data"] in DATASETS
    hyperparameters = {"channels": 1, **given.get("hyperparameters", {})}
    model = kf.create_model(recipe.model, **hyperparameters)
    for key, value in hyperparameters.items():
        if key != "dtype":
            assert getattr(model, key) == value, key
    if "batch_size" in given:
        assert given["batch_size"] % model.batch_multiple == 0


# ---------------------------------------------------------------------------------------------
# What a recipe does, with one of our own

RECIPE = """
model = "vae"
document = "a document"
result = "figure 7"
states = "5 epochs"
data = "faces of one's own"

[paper]
epochs = 5
batch_size = 50
split = "all"
crop = "squash"
grid_epochs = [1, 2]

[paper.hyperparameters]
image_size = 64
filters = 8
latent_dim = 6

[quick]
data = "orl"
steps = 3
batch_size = 20
crop = "squash"
grid_epochs = [1]

[quick.hyperparameters]
image_size = 32
filters = 2
latent_dim = 4

[quick.expected]
face_detection_rate = 0.5
"""


@pytest.fixture
def figure7(tmp_path, monkeypatch):
    """A folder of recipes that holds one, `figure7`."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "figure7.toml").write_text(RECIPE)
    monkeypatch.setattr(recipes, "FOLDER", folder)
    return folder


def train(tmp_path, **given):
    given = {"recipe": "figure7", "budget": "quick", "count": 0, **given}
    return kf.train("vae", run=tmp_path / "run", print_fn=lambda line: None, **given)


def test_a_recipe_is_read_with_its_budgets(figure7):
    assert kf.list_recipes() == ["figure7"]
    recipe = load_recipe("figure7")
    assert (recipe.model, recipe.document, recipe.result) == ("vae", "a document", "figure 7")
    assert recipe.expected == {"face_detection_rate": 0.5}
    assert "expected" not in recipe.quick
    assert recipe.arguments("quick")["hyperparameters"]["filters"] == 2
    assert recipe.arguments("paper", "orl")["hyperparameters"]["filters"] == 8


def test_a_recipes_numbers_stand_where_nothing_else_is_given(figure7, tmp_path):
    config = train(tmp_path).config()
    assert (config["recipe"], config["budget"]) == ("figure7", "quick")
    assert (config["steps"], config["epochs"], config["grid_epochs"]) == (3, None, [1])
    facts = config["data"]
    assert (facts["source"], facts["batch_size"], facts["crop"]) == ("orl", 20, "squash")
    assert facts["split"] == "train"
    taken = config["hyperparameters"]
    assert (taken["image_size"], taken["filters"], taken["latent_dim"]) == (32, 2, 4)
    assert taken["channels"] == 1
    assert (tmp_path / "run" / "model.keras").is_file()


def test_what_is_given_goes_before_a_recipes_numbers(figure7, tmp_path, orl_folder):
    given = {"epochs": 1, "batch_size": 4, "crop": "center", "split": "all", "latent_dim": 5}
    config = train(tmp_path, data=orl_folder, **given).config()
    assert (config["epochs"], config["steps"]) == (1, None)
    facts = config["data"]
    assert facts["source"] == kf.data.open_source(orl_folder).address
    assert (facts["batch_size"], facts["crop"], facts["split"]) == (4, "center", "all")
    assert config["hyperparameters"]["latent_dim"] == 5
    assert config["hyperparameters"]["filters"] == 2


@pytest.fixture
def began_crop(figure7):
    """The recipe with a crop that is made for aligned CelebA."""
    (figure7 / "figure7.toml").write_text(RECIPE.replace('"squash"', '"began"'))


@pytest.mark.parametrize(
    ("size", "given", "crop"),
    [
        ((178, 218), {}, "began"),
        ((92, 112), {}, "center"),
        ((400, 300), {}, "center"),
        ((400, 300), {"crop": "squash"}, "squash"),
        ((178, 218), {"crop": "larsen"}, "larsen"),
    ],
    ids=["aligned CelebA", "smaller", "larger", "one's own", "one's own of aligned CelebA"],
)
def test_a_recipes_crop_is_used_on_the_pictures_that_it_is_made_for(
    began_crop, picture_folder, size, given, crop
):
    faces = picture_folder({f"{n}.png": Image.new("L", size, n) for n in range(3)})
    plan = resolve("vae", "figure7", budget="quick", data=faces, **given)
    assert plan.with_source(plan.open_source()).crop == crop


def test_without_a_recipe_a_crop_is_what_was_said(orl_folder):
    plan = resolve("vae", data=orl_folder, crop="began")
    assert plan.with_source(plan.open_source()).crop == "began"


def test_training_says_that_another_crop_than_the_recipes_is_used(began_crop, tmp_path):
    said = []
    given = {"recipe": "figure7", "budget": "quick", "count": 0, "steps": 1}
    run = kf.train("vae", run=tmp_path / "run", print_fn=said.append, **given)
    assert run.config()["data"]["crop"] == "center"
    [told] = [line for line in said if line.startswith("crop ")]
    assert told.startswith("crop 'center'") and "recipe's 'began'" in told and "CelebA" in told


def test_zhangs_recipes_are_for_any_faces(orl_folder):
    zhangs = [name for name in kf.list_recipes() if name.startswith("zhang-")]
    assert len(zhangs) == 4
    for name in zhangs:
        plan = resolve(load_recipe(name).model, name, data=orl_folder)
        assert plan.crop == "began"
        assert plan.with_source(plan.open_source()).crop == "center"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"recipe": "figure8"}, "no recipe named 'figure8'.*'figure7'"),
        ({"budget": "quik"}, "no budget named 'quik'.*'quick'"),
        ({"budget": "paper"}, "faces of one's own.*--data"),
        ({"recipe": None}, "Give a recipe as well"),
    ],
    ids=["recipe", "budget", "no data", "budget alone"],
)
def test_what_a_recipe_cannot_do_is_said_and_leaves_no_run(figure7, tmp_path, given, message):
    with pytest.raises(kf.UserError, match=message):
        train(tmp_path, **given)
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_another_model_is_refused(figure7, tmp_path):
    with pytest.raises(kf.UserError, match=r"'figure7' is one of model 'vae'.*'dcgan'"):
        kf.train("dcgan", recipe="figure7", budget="quick", run=tmp_path / "run")
