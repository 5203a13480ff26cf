"""Results and errors → the words a person reads, in the language of the current i18n context.

What is returned is HTML for Telegram. Texts are whole sentences, so that a translation can turn them around.
"""

from bot.replies.albums import *
from bot.replies.clips import *
from bot.replies.edits import *
from bot.replies.failures import *
from bot.replies.find import *
from bot.replies.inline import *
from bot.replies.interface import *
from bot.replies.media import *
from bot.replies.operators import *
from bot.replies.photos import *
from bot.replies.privacy import *
from bot.replies.profile import *
from bot.replies.settings import *
from bot.replies.tags import *
from bot.replies.text import *
from bot.replies.translated import *
from bot.replies.waiting import *
