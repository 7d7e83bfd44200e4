<#
.SYNOPSIS
    Connects an imported machine of the lab "wide" to the lab's networks.
.DESCRIPTION
    An OVA cannot name VMware's networks, so after an import the cards are on NAT or "hostonly".
        powershell -ExecutionPolicy Bypass -File patch-vmx.ps1 FILE.vmx
    The role follows from the number of cards, unless you give -Role. The old file is kept beside
    the new one. With -Check nothing is changed.
    Exit status: 0 done or nothing to do, 1 cannot be done (or -Check: is not), 2 usage.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true, Position = 0)][string]$File,
    [string]$Role = '',
    [switch]$Check
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

# For each role the connectionType and the vnet of its cards, in order.
$Wiring = @{
    'director' = @(
        @{ Kind = 'custom'; Vnet = 'VMnet2' }
        @{ Kind = 'custom'; Vnet = 'VMnet3' }
        @{ Kind = 'nat'; Vnet = '' }
    )
    'real-server' = @(
        @{ Kind = 'custom'; Vnet = 'VMnet3' }
    )
}

function Stop-With([int]$Status, [string]$Text) {
    [Console]::Error.WriteLine("patch-vmx.ps1: $Text")
    exit $Status
}

if (-not (Test-Path -LiteralPath $File -PathType Leaf)) { Stop-With 2 "${File}: there is no such file" }
$File = (Resolve-Path -LiteralPath $File).ProviderPath

function Assert-Off([string]$Path) {
    if (Test-Path -LiteralPath "$Path.lck") {
        Stop-With 1 "${Path}: VMware has it open ($Path.lck): power the machine off and close its tab"
    }
    foreach ($state in Get-ChildItem -LiteralPath (Split-Path -Parent $Path) -File) {
        # the memory of a snapshot is there while the machine is off, too
        if ($state.Name -match '-Snapshot\d+\.vmem$') { continue }
        if ($state.Extension -eq '.vmem' -or $state.Extension -eq '.vmss') {
            Stop-With 1 "${Path}: the machine runs or is suspended ($($state.Name)): power it off"
        }
    }
}

# Of a symbolic link the target is changed, and either name may be the one that is open.
Assert-Off $File
$item = Get-Item -LiteralPath $File
if ($item.LinkType -eq 'SymbolicLink') {
    $target = [string]@($item.Target)[0]
    if (-not [IO.Path]::IsPathRooted($target)) { $target = Join-Path (Split-Path -Parent $File) $target }
    $File = [IO.Path]::GetFullPath($target)
    Assert-Off $File
}

# One character a byte, so that every other line is written back as it was.
$Bytes = [Text.Encoding]::GetEncoding(28591)
$text = [IO.File]::ReadAllText($File, $Bytes)
$newline = if ($text.Contains("`r`n")) { "`r`n" } else { "`n" }
$lines = @($text -split "`r?`n")
if ($lines[-1] -eq '') { $lines = @($lines | Select-Object -SkipLast 1) }

# VMware takes a value with or without quotes, and a comment behind it.
$Form = '^[ \t]*(?<key>[A-Za-z0-9_.:-]+)[ \t]*=[ \t]*("(?<value>[^"]*)"|(?<value>[^ \t"#]*))[ \t]*(#.*)?$'
$setting = @{}
foreach ($line in $lines) {
    if ($line -match $Form) { $setting[$Matches['key'].ToLower()] = $Matches['value'] }
}

# The numbers of the cards that are there, in the guest's order: it counts eth0, eth1, ... by PCI
# slot, which is function * 1024 + bridge * 32 + device. A card without one gets the next free one.
$there = @(0..9 | Where-Object { $setting["ethernet$_.present"] -match '^(true|t|yes|y|on|1)$' })
$slots = @{}
foreach ($number in $there) {
    $slot = [string]$setting["ethernet$number.pcislotnumber"]
    if ($slot -match '^[0-9]{1,9}$') { $slots[$number] = [int]$slot }
}
$free = 32
foreach ($number in $there) {
    if ($slots.ContainsKey($number)) { continue }
    while ($slots.ContainsValue($free)) { $free++ }
    $slots[$number] = $free
}
$present = @($there | Sort-Object -Property @(
    { ($slots[$_] -shr 5) -band 31 }, { $slots[$_] -shr 10 }, { $slots[$_] -band 31 }, { $_ }
))
$cards = $present.Count
if (-not $Role) {
    $fitting = @($Wiring.Keys | Where-Object { $Wiring[$_].Count -eq $cards })
    if ($fitting.Count -eq 0) { Stop-With 1 "${File}: it has $cards network cards, no role of the lab has so many" }
    if ($fitting.Count -gt 1) { Stop-With 2 "${File}: more than one role has $cards cards: give -Role" }
    $Role = $fitting[0]
}
if (-not $Wiring.ContainsKey($Role)) { Stop-With 2 "there is no role $Role" }
if ($Wiring[$Role].Count -ne $cards) {
    Stop-With 1 "${File}: it has $cards network cards, a $Role has $($Wiring[$Role].Count)"
}

$wanted = [ordered]@{}
for ($number = 0; $number -lt $cards; $number++) {
    $card = "ethernet$($present[$number])"
    $wanted["$card.connectionType"] = $Wiring[$Role][$number].Kind
    $wanted["$card.vnet"] = $Wiring[$Role][$number].Vnet
}

$seen = @{}
$changes = @()
$result = @(foreach ($line in $lines) {
    if (-not ($line -match $Form)) { $line; continue }
    $key = $Matches['key']
    $value = [string]$Matches['value']
    if (-not $wanted.Contains($key)) { $line; continue }
    if ($seen.ContainsKey($key.ToLower())) { continue }
    $seen[$key.ToLower()] = $true
    if ($wanted[$key] -ceq $value) { $line; continue }
    $changes += "  was:    $line"
    if ($wanted[$key]) {
        $canonical = @($wanted.Keys | Where-Object { $_ -eq $key })[0]
        $changes += "  is now: $canonical = `"$($wanted[$key])`""
        "$canonical = `"$($wanted[$key])`""
    }
})
foreach ($key in $wanted.Keys) {
    if ($wanted[$key] -and -not $seen.ContainsKey($key.ToLower())) {
        $changes += "  is now: $key = `"$($wanted[$key])`""
        $result += "$key = `"$($wanted[$key])`""
    }
}

if (-not $changes) {
    Write-Output "${File}: a $Role, connected as the lab wants it"
    exit 0
}
Write-Output "${File}: a $Role"
$changes | Write-Output
if ($Check) {
    Write-Output 'nothing was changed (-Check)'
    exit 1
}
$backup = "$File.before-lvslab"
for ($number = 2; Test-Path -LiteralPath $backup; $number++) { $backup = "$File.before-lvslab-$number" }
Copy-Item -LiteralPath $File -Destination $backup
[IO.File]::WriteAllText($File, (($result -join $newline) + $newline), $Bytes)
Write-Output "backup: $backup"
exit 0
