"""What all answers' bodies share: they are described, and written as JSON without being checked."""

from pydantic import BaseModel, ConfigDict


class AnswerBody(BaseModel):
    """The description of an answer: built when somebody reads the OpenAPI document."""

    model_config = ConfigDict(defer_build=True)
