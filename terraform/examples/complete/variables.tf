variable "region" {
  description = "Region of the cluster."
  type        = string
  default     = "us-east-1"
}

variable "name" {
  description = "Name of the cluster."
  type        = string
  default     = "events"
}

variable "binary_file" {
  description = "The brokers' binary, from: GOARCH=arm64 CGO_ENABLED=0 go build -o bin/forebay-arm64 ./cmd/forebay."
  type        = string
  default     = "../../../bin/forebay-arm64"
}

variable "wal_zone_id" {
  description = "Id of the zone for S3 Express, one of those that the subnets are in; null for none."
  type        = string
  default     = null
}

variable "operators" {
  description = "ARN patterns of IAM principals that may change things through the admin API."
  type        = list(string)
  default     = []
}

variable "emails" {
  description = "Addresses that alarms are sent to."
  type        = list(string)
  default     = []
}
