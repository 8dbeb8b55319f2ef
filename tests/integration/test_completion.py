# SPDX-License-Identifier: Apache-2.0
"""What bash offers by the script that `cleat completion bash` writes."""
import subprocess

import pytest
from harness import CLEAT, sh


def complete(words):
    """The last of the words is being typed."""
    script = sh(CLEAT, 'completion', 'bash')
    return sh('bash', '-c', f'{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _cleat; '
                            'echo "${COMPREPLY[*]}"').strip()


@pytest.mark.parametrize('words, offered', [
    ('cleat co', 'controller completion'),
    ('cleat ctl vol', 'volume'),
    ('cleat ctl volume stag', 'stage'),
    ('cleat ctl volume exp', 'expand'),
    ('cleat ctl pool ad', 'adopt'),
    ('cleat ctl snapshot cr', 'create'),
    ('cleat ctl volume --from-s', '--from-snapshot='),
    ('cleat driver --pool-im', '--pool-image='),
    ('cleat node --logging-format = j', 'json'),
    ('cleat node --logging-format =', 'text json'),
    ('cleat completion b', 'bash'),
    ('cleat node --nothing-like-it', ''),
])
def test_bash_completes(words, offered):
    assert complete(words) == offered


@pytest.mark.parametrize('words', [[], ['tcsh'], ['bash', 'zsh']])
def test_shells_that_are_none(words):
    done = subprocess.run([CLEAT, 'completion', *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'bash' in done.stderr and not done.stdout
