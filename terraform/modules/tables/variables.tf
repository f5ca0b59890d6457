variable "prefix" {
  description = "What the names of the tables begin with, as in dynamodb://prefix."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{0,246}$", var.prefix))
    error_message = "Lower-case letters, digits, dots and hyphens: it is the host of a URL."
  }
}

variable "provisioned" {
  description = "Capacity of each table, scaled between the limits to target_percent of use; null for on demand, which suits a load that is not known."
  type = object({
    read_min       = number
    read_max       = number
    write_min      = number
    write_max      = number
    target_percent = optional(number, 60)
  })
  default = null

  validation {
    condition = var.provisioned == null ? true : (
      var.provisioned.read_min >= 1 && var.provisioned.read_max >= var.provisioned.read_min &&
      var.provisioned.write_min >= 1 && var.provisioned.write_max >= var.provisioned.write_min
    )
    error_message = "Limits are 1 or more, and no maximum is below its minimum."
  }

  validation {
    condition     = var.provisioned == null ? true : var.provisioned.target_percent >= 20 && var.provisioned.target_percent <= 90
    error_message = "DynamoDB scales to 20 to 90 percent of use."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the tables can be brought back to any second of the last 35 days."
  type        = bool
  default     = true
  nullable    = false
}

variable "deletion_protection" {
  description = "Whether the tables refuse to be deleted. Without them nothing says what the objects in the bucket are."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts the tables, or null for a key of DynamoDB."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "The key must be the ARN of a KMS key."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
  nullable    = false
}
