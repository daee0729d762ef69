"""The methods in PEFT's own tables, without weight on the package's import."""

import subprocess
import sys

import pytest
from launches import WITHOUT_QUANTISED
from peft import LoraConfig, PeftConfig, PeftType, get_peft_config
from peft.tuners.lora import LoraModel

from modeconn.adapters.methods import L2PConfig, LorettaAdpConfig, LorettaRepConfig, WeGeFTConfig, register_methods
from modeconn.adapters.methods.registration import register
from modeconn.errors import AdapterError

CONFIGS = {"WEGEFT": WeGeFTConfig, "LORETTA_REP": LorettaRepConfig, "LORETTA_ADP": LorettaAdpConfig, "L2P": L2PConfig}


def in_a_fresh_process(script, *arguments):
    return subprocess.run([sys.executable, "-W", "ignore", "-c", script, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_peft_knows_the_method_by_its_name(name):
    assert isinstance(get_peft_config({"peft_type": name}), CONFIGS[name])
    assert PeftType(name) is PeftType[name] is getattr(PeftType, name)
    assert name in list(PeftType)


def test_a_second_registration_changes_nothing():
    before = list(PeftType)
    register_methods()
    register("wegeft", WeGeFTConfig, LoraModel)
    assert list(PeftType) == before


def test_a_name_that_peft_uses_itself_is_refused():
    with pytest.raises(AdapterError, match=r"cannot add the method lora to PEFT\n.*\n  got: LORA of peft\."):
        register("lora", WeGeFTConfig, LoraModel)
    assert isinstance(get_peft_config({"peft_type": "LORA"}), LoraConfig)


def test_a_fresh_process_reads_a_saved_adapter_after_one_call(tmp_path):
    WeGeFTConfig(r=7).save_pretrained(tmp_path)
    done = in_a_fresh_process(
        WITHOUT_QUANTISED + "from peft import PeftConfig; from modeconn.adapters.methods import register_methods;"
        "register_methods(); print(PeftConfig.from_pretrained(sys.argv[1]).r)",
        str(tmp_path),
    )
    assert done.stdout == "7\n"
    # Other packages say on import what they lack on this machine.
    assert not [word for word in ("modeconn", "Traceback", "Warning") if word in done.stderr]


def test_settings_come_back_from_their_file(tmp_path):
    config = LorettaRepConfig(r=4, start="published", tensor_shapes=[[4, 6]], target_modules=["q"])
    config.save_pretrained(tmp_path)
    assert PeftConfig.from_pretrained(tmp_path) == config


def test_the_package_itself_and_the_equations_load_no_peft():
    done = in_a_fresh_process(
        "import sys, modeconn.adapters.methods; light = 'torch' not in sys.modules;"
        "import modeconn.adapters.methods.updates; print(light, 'peft' in sys.modules)"
    )
    assert (done.stdout, done.stderr) == ("True False\n", "")
